import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')

const PROGRAM = `
import { createKoraServer, createPostgresServerStore, createSqliteServerStore } from 'kora-server'

const connectionString = 'postgres://localhost/app'
const stores = [createSqliteServerStore({ filename: './app.db' }), await createPostgresServerStore({ connectionString })]
export const servers = stores.map((store) => createKoraServer({ store }))
`

/** An installed package beside a program: with what it depends on at run time, and no tool of its own. */
function installInto(directory: string): void {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const name of [...Object.keys(dependencies), '@types/node']) {
    const path = join(directory, 'node_modules', name)
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules', name), path)
  }
  const own = join(directory, 'node_modules/kora-server') // copied: what is linked sees the packages beside its original
  cpSync(join(ROOT, 'package.json'), join(own, 'package.json'))
  cpSync(join(ROOT, 'dist'), join(own, 'dist'), { recursive: true })
}

test('a strict program that checks the types of its libraries compiles', { timeout: 150_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'kora-consumer-'))
  try {
    installInto(directory)
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(directory, 'app.ts'), PROGRAM)
    const options = {
      target: 'ES2023',
      lib: ['ES2023'],
      module: 'NodeNext',
      types: ['node'],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
    }
    writeFileSync(
      join(directory, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, include: ['app.ts'] }),
    )

    const { stdout, status } = spawnSync(process.execPath, [TSC, '-p', directory], { encoding: 'utf8' })

    expect(stdout).toBe('')
    expect(status).toBe(0)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
