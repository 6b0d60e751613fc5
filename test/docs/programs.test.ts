import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TSCONFIG = join(ROOT, 'tsconfig.json')
/** The package that the page is about is played by this one: both have the names that the program uses. */
const OLD_SERVER = ['@korajs/server', 'kora-server'] as const

const PAGES = ['library.md', 'schema.md', 'constraints.md', 'migrating-from-korajs-server.md']
const programs = PAGES.flatMap(programsOf)
let directory: string

beforeAll(async () => {
  directory = mkdtempSync(join(ROOT, 'test/docs/.programs-')) // inside, so that packages are found
  programs.forEach(({ file, code }) => {
    writeFileSync(join(directory, file), code)
  })
  const old = createSqliteServerStore({ filename: join(directory, 'old.db') })
  const author = new OperationAuthor('a')
  await appendAll(old, [author.insert('r1', { title: 'x' }), author.update('r1', { title: 'y' })])
  await old.close()
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

function programsOf(page: string): { file: string; code: string }[] {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8')
  return [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code = ''], index) => ({
    file: `${page.replace('.md', '')}-${index + 1}.ts`,
    code: code.replace(...OLD_SERVER),
  }))
}

/** The recipes of auth.md are parts of a configuration, or a module that such a one names. */
function writeAuthRecipes(): number {
  const recipes = programsOf('auth.md').map(({ file, code }) => ({ file, code: wholeRecipe(code) }))
  for (const { file, code } of recipes) writeFileSync(join(directory, file), code)
  return recipes.length
}

function wholeRecipe(code: string): string {
  if (code.startsWith('// auth.ts')) return `${FIND_SESSION}\n${code}`
  const option = code.startsWith('jwt:')
    ? `auth: { mode: 'jwt', ${code} }`
    : code.startsWith('scopes:')
      ? `auth: { mode: 'kora', ${code} }`
      : code
  return `import { defineConfig } from 'kora-server'\nexport default defineConfig({ ${option} })\n`
}

const FIND_SESSION = 'declare function findSession(token: string): Promise<{ userId: string } | null>'

test('the programs of the pages are well typed', { timeout: 150_000 }, () => {
  expect(writeAuthRecipes()).toBeGreaterThan(8)
  const tsconfig = join(directory, 'tsconfig.json')
  writeFileSync(
    tsconfig,
    JSON.stringify({ extends: TSCONFIG, include: ['*.ts'], exclude: [], compilerOptions: { noEmit: true } }),
  )
  const { stdout, status } = spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', tsconfig],
    {
      encoding: 'utf8',
      timeout: 120_000,
    },
  )

  expect(stdout).toBe('')
  expect(status).toBe(0)
})

test('the programs of the pages run as they are, in the order of the page', { timeout: 90_000 }, () => {
  const all = programs.map(({ file }) => `await import('./${file}')`).join('\n')
  writeFileSync(join(directory, 'all.mts'), all)

  const run = spawnSync(process.execPath, ['--import', import.meta.resolve('tsx'), 'all.mts'], {
    cwd: directory,
    env: { ...process.env, TSX_TSCONFIG_PATH: TSCONFIG },
    encoding: 'utf8',
    timeout: 80_000,
  })

  expect(run.stderr).toBe('')
  expect(run.status).toBe(0)
  for (const said of [
    'Clients connect to ws://127.0.0.1:',
    "[ 'tea' ] 1",
    "{ todos: { userId: 'ada' } } { feedback: {} }",
    'b is told awareness-update',
    '1 operations restored',
    'NO_SCHEMA',
    '2 operations copied, 2 stored',
  ]) {
    expect(run.stdout).toContain(said)
  }
})
