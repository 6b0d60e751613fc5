import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { runCli, startDaemon } from '../support/daemon.ts'
import { freePort } from '../support/free-port.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

test('after the demo, the query of the README prints what the README says', async () => {
  const [command = '', ...expected] = consoleBlock('$ npx kora-server query')
  await using daemon = await startDaemon({
    args: ['--config', join(ROOT, 'config/kora.config.ts'), '--db', 'demo.db'],
  })
  const env = { KORA_DB: join(daemon.directory, 'demo.db') }

  const demo = spawnSync(process.execPath, ['--import', 'tsx', 'demo/main.ts', daemon.url], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: 30_000,
  })
  const args = command.replace('$ npx kora-server ', '').split(' ')
  const query = await runCli([...args, '--format', 'table'], { directory: ROOT, env })

  expect(demo.stderr).toBe('')
  expect(demo.stdout).toContain('npx kora-server query todos')
  expect(columns(query.stdout)).toEqual(columns(expected.join('\n')))
})

test('the demo tells a server that asks for tokens from none', async () => {
  const auth = { KORA_AUTH_SECRET: 'a secret of at least thirty-two characters' }
  await using daemon = await startDaemon({
    args: ['--config', join(ROOT, 'config/kora.config.ts'), '--db', 'demo.db'],
    env: auth,
  })
  const demo = (url: string) =>
    spawnSync(process.execPath, ['--import', 'tsx', 'demo/main.ts', url], { cwd: ROOT, encoding: 'utf8' })

  expect(demo(daemon.url).stderr).toContain('does not let the demo in, whose devices have no tokens')
  expect(demo(`ws://127.0.0.1:${await freePort()}`).stderr).toContain('npm run demo ws://localhost:8080')
})

function consoleBlock(start: string): string[] {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const block = [...readme.matchAll(/```console\n([^`]*)```/g)].map((match) => match[1] ?? '')
  return (
    block
      .find((text) => text.startsWith(start))
      ?.trim()
      .split('\n') ?? []
  )
}

/** How wide a column is does not matter. */
function columns(table: string): string[][] {
  return table
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s{2,}/))
}
