import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { TOKEN_REFUSALS } from '../src/auth/token-verdict.ts'
import { ERROR_CODES } from '../src/core/errors.ts'
import { REFUSAL_CODES, WRITE_REFUSAL_CODES } from '../src/core/refusal.ts'
import { CONNECTION_ERRORS } from '../src/protocol/connection-errors.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** A file imports from its own folder and from those above it in this list. */
const LAYERS = ['core', 'protocol', 'store', 'auth', 'sync', 'transport', 'http', 'config', 'cli']

/** Runs in a browser: a program of its own, which shares types with the layer that serves it. */
const PAGE = 'dashboard'

test('every file of src imports only from its own layer and those above it', () => {
  const violations = sourceFiles().flatMap((file) =>
    importsOf(file).flatMap((target) => {
      const [from, to] = [layerOf(file), layerOf(target)]
      if (from === null || to === null) return []
      return LAYERS.indexOf(to) > LAYERS.indexOf(from) ? [`${file} (${from}) imports ${target} (${to})`] : []
    }),
  )

  expect(violations).toEqual([])
})

/** The folders of sync, in the order of docs/architecture.md. */
const SYNC_FOLDERS = [
  ['feed'],
  ['delivery'],
  ['ingest'],
  ['handshake'],
  ['relays', 'cluster'],
  ['hub'],
  ['session'],
]

test('every folder of sync imports, be it only types, from none of those after it', () => {
  const violations = sourceFiles().flatMap((file) =>
    importsOf(file)
      .filter((target) => rankInSync(file) >= 0 && rankInSync(target) > rankInSync(file))
      .map((target) => `${file} imports ${target}`),
  )
  const folders = readdirSync(join(ROOT, 'src/sync'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)

  expect(violations).toEqual([])
  expect(folders.sort()).toEqual(SYNC_FOLDERS.flat().sort())
})

test('no files of sync import each other in a circle, be it only types', () => {
  const inSync = (file: string): boolean => file.startsWith('src/sync/')
  const left = new Map(
    sourceFiles()
      .filter(inSync)
      .map((file) => [file, importsOf(file).filter(inSync)]),
  )
  // What imports nothing that is left is in no circle.
  for (let before = -1; before !== left.size; ) {
    before = left.size
    for (const [file, targets] of left) if (!targets.some((target) => left.has(target))) left.delete(file)
  }

  expect([...left.keys()]).toEqual([])
})

/** What makes a verdict of authorization → the modules that may ask for one. */
const VERDICT_MAKERS: { readonly [name: string]: readonly string[] } = {
  createView: ['src/sync/authorization.ts', 'src/sync/handshake/grant.ts'],
  grantView: ['src/sync/handshake/handshake.ts'],
  createWriteAccess: ['src/sync/authorization.ts'],
  TRUSTED_SOURCE: ['src/store/append/apply-operation.ts'],
  SERVER_ITSELF: ['src/store/backup/restore-requests.ts', 'src/sync/authorization.ts'],
  authorizeClient: ['src/sync/handshake/handshake.ts'],
  authorizePeer: ['src/sync/cluster/remote-peer.ts'],
  authorizeOperator: ['src/http/operations/access.ts'],
  authorizeApplication: ['src/http/server-host.ts', 'src/sync/hub.ts'],
}

test.each(Object.entries(VERDICT_MAKERS))('%s is asked for only where access is decided', (name, allowed) => {
  const importers = sourceFiles().filter((file) =>
    [...read(file).matchAll(/^import \{([^}]*)\} from/gm)].some(([, names]) =>
      new RegExp(`\\b${name}\\b`).test(names ?? ''),
    ),
  )

  expect(importers).toEqual(allowed)
})

test('no cast makes a verdict of authorization', () => {
  const casts = sourceFiles().filter((file) =>
    /\bas (unknown as )?(View|WriteAccess|ClientAccess|OperatorAccess|ApplicationAccess)\b/.test(read(file)),
  )

  expect(casts).toEqual([])
})

test('only the entry point of the library re-exports, and nothing imports it but what hands it to files of the app', () => {
  const importers = sourceFiles().filter((file) => importsOf(file).includes('src/index.ts'))
  const reExporting = sourceFiles().filter((file) =>
    /^export (?:type )?(?:\*|\{[^}]*\}).* from '/m.test(read(file)),
  )

  expect(importers).toEqual(['src/config/load-module.ts'])
  expect(reExporting).toEqual(['src/index.ts'])
})

test('no docstring begins with "Of …", which leaves its subject to the reader', () => {
  const hidden = sourceFiles().flatMap((file) =>
    [...read(file).matchAll(/(?:\/\*\*[\s*]+|^\s*\/\/ )(Of .*)/gm)].map(([, text]) => `${file}: ${text}`),
  )

  expect(hidden).toEqual([])
})

test('every code that the pages explain is given somewhere', () => {
  const tables = [ERROR_CODES, REFUSAL_CODES, WRITE_REFUSAL_CODES, CONNECTION_ERRORS, TOKEN_REFUSALS]
  const sources = sourceFiles().map(read).join('\n')
  const given = new Set([...sources.matchAll(/['.]([A-Z][A-Z_]+)\b/g)].map(([, code]) => code))

  expect(tables.flatMap((table) => Object.keys(table)).filter((code) => !given.has(code))).toEqual([])
})

test('every folder of src is a layer', () => {
  const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)

  expect(folders.filter((folder) => !LAYERS.includes(folder))).toEqual([PAGE])
})

test('the page of the dashboard knows only the types of what the server answers', () => {
  const shared = join('src', 'http', 'dashboard', 'api-types.ts')
  const page = readdirSync(join(ROOT, 'src', PAGE), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.tsx?$/.test(file))
    .map((file) => join('src', PAGE, file))
  const foreign = page.flatMap((file) =>
    importsOf(file).filter((target) => !target.startsWith(join('src', PAGE)) && target !== shared),
  )

  expect(page.length).toBeGreaterThan(10)
  expect(foreign).toEqual([])
  expect(importsOf(shared)).toEqual([])
})

test('docs/dependencies.md names every dependency and no other', () => {
  const { dependencies, optionalDependencies, devDependencies } = JSON.parse(read('package.json'))
  const documented = [...read('docs/dependencies.md').matchAll(/^\| `([^`]+)` *\|/gm)].map(
    (match) => match[1],
  )

  expect(documented.sort()).toEqual(
    Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies }).sort(),
  )
})

test('every runtime dependency is imported somewhere', () => {
  const { dependencies } = JSON.parse(read('package.json'))
  const sources = sourceFiles().map(read).join('\n')
  const unused = Object.keys(dependencies).filter(
    (name) => !new RegExp(`['"]${name}(/[^'"]*)?['"]`).test(sources),
  )

  expect(unused).toEqual([])
})

test('the README gives one command to start and one to test, each on one line', () => {
  const readme = read('README.md')

  for (const name of ['start', 'test']) {
    const block = readme.match(new RegExp(`<!-- ${name} -->\\n\`\`\`sh\\n([^\`]*)\`\`\``))?.[1]
    expect(block?.trim().split('\n'), name).toHaveLength(1)
  }
})

function sourceFiles(): string[] {
  return readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join('src', file))
    .sort()
}

/** The files of the project that a file imports, relative to the root. */
function importsOf(file: string): string[] {
  return [...read(file).matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].map((match) =>
    relative(ROOT, join(ROOT, dirname(file), match[1] ?? '')),
  )
}

function layerOf(file: string): string | null {
  return LAYERS.find((layer) => file.startsWith(join('src', layer, '/'))) ?? null
}

/** The place of a file in the order of the folders of sync; -1 outside of them. */
function rankInSync(file: string): number {
  return SYNC_FOLDERS.findIndex((folders) => folders.some((folder) => file.startsWith(`src/sync/${folder}/`)))
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

test('the test runner fails when a test does', () => {
  const config = join(ROOT, 'test/support/failing/vitest.config.ts')
  const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs')

  const { status, stdout } = spawnSync(
    process.execPath,
    [vitest, 'run', '--root', ROOT, '--config', config],
    {
      encoding: 'utf8',
    },
  )

  expect(stdout).toContain('1 failed')
  expect(status).toBe(1)
}, 60_000)
