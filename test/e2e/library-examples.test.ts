import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../support/daemon.ts'

const EXAMPLES = new URL('./examples/', import.meta.url)
const TSCONFIG = fileURLToPath(new URL('../../tsconfig.json', import.meta.url))

test.each(readdirSync(EXAMPLES))('the examples of %s run as they are', async (file) => {
  const directory = await temporaryDirectory()

  const result = spawnSync(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), fileURLToPath(new URL(file, EXAMPLES))],
    {
      cwd: directory,
      env: { ...process.env, TSX_TSCONFIG_PATH: TSCONFIG },
      encoding: 'utf8',
      timeout: 30_000,
    },
  )
  await rm(directory, { recursive: true, force: true })

  expect(result.stderr).toBe('')
  expect(result.status).toBe(0)
})
