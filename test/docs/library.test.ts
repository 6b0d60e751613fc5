import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('docs/library.md names everything that the package exports', () => {
  const page = read('docs/library.md')
  const exported = [...read('src/index.ts').matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(
    ([, names = '']) =>
      names
        .split(',')
        .map((name) => name.trim().replace(/^type /, ''))
        .filter((name) => name !== ''),
  )

  expect(exported.length).toBeGreaterThan(50)
  expect(exported.filter((name) => !new RegExp(`\\b${name}\\b`).test(page))).toEqual([])
})

test('a CommonJS program gets what docs/library.md says', () => {
  const script = "console.log(typeof require('kora-server').createKoraServer)"
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=commonjs', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    encoding: 'utf8',
  })

  expect([stdout, stderr]).toEqual(['function\n', ''])
})

test.each([
  ['src/http/kora-sync-server.ts', 'KoraSyncServerConfig'],
  ['src/http/sync-service.ts', 'SyncServiceConfig'],
  ['src/sync/options.ts', 'SyncLimits'],
  ['src/store/sqlite/sqlite-store.ts', 'SqliteServerStoreOptions'],
  ['src/store/postgres/options.ts', 'PostgresServerStoreOptions'],
  ['src/store/memory/memory-store.ts', 'MemoryServerStoreOptions'],
  ['src/store/store.ts', 'CollectionQueryOptions'],
  ['src/auth/mixed-auth-provider.ts', 'MixedAuthProviderOptions'],
  ['src/auth/kora-auth-provider.ts', 'KoraAuthProviderOptions'],
])('docs/library.md names every option of %s, %s', (file, name) => {
  const page = read('docs/library.md')
  const body = new RegExp(`interface ${name} [^{]*\\{\\n([\\s\\S]*?)\\n\\}`).exec(read(file))?.[1] ?? ''
  const options = [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??[:(]/gm)].map(([, option]) => option ?? '')

  expect(options.length).toBeGreaterThan(0)
  expect(options.filter((option) => !page.includes(`\`${option}\``))).toEqual([])
})
