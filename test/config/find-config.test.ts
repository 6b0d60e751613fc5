import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load-config.ts'
import { ConfigFolder } from '../support/config-folder.ts'

async function messageOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
  )
}

const NEEDS_QUOTES = '. A value that begins with one of ! & * % @ ` needs quotes'
const IS_EMPTY = 'is empty. Write {} for a configuration that changes nothing, or remove the file'
const EXPORTS_NOTHING = 'exports no configuration: export it by default'

describe('every kind of file is found and read', () => {
  const typed =
    "import { defineConfig } from 'kora-server'\nexport default defineConfig({ port: 5001 as number })"
  const esm = "import { defineConfig } from 'kora-server'\nexport default defineConfig({ port: 5001 })"
  const common =
    "const { defineConfig } = require('kora-server')\nmodule.exports = defineConfig({ port: 5001 })"
  const json = '{ "$schema": "./kora.config.schema.json", "port": 5001 }'
  const yaml = '# the server\nport: 5001\n'
  const rows: readonly [name: string, content: string][] = [
    ['kora.config.ts', typed],
    ['kora.config.mts', typed],
    ['kora.config.js', esm],
    ['kora.config.js', common],
    ['kora.config.mjs', esm],
    ['kora.config.cjs', common],
    ['kora.config.json', json],
    ['kora.config.yaml', yaml],
    ['kora.config.yml', yaml],
    ['kora.config.json', `\uFEFF${json}`],
    ['.korarc', yaml],
    ['.korarc', json],
    ['.korarc.json', json],
    ['.korarc.yaml', yaml],
    ['.korarc.ts', typed],
    ['.config/korarc.yml', yaml],
    ['package.json', '{ "name": "app", "kora": { "port": 5001 } }'],
  ]
  test.each(rows)('%s', async (name, content) => {
    using folder = new ConfigFolder({ [name]: content })
    const { values, file } = await loadConfig({ cwd: folder.path })
    expect(values.port).toBe(5001)
    expect(file).toBe(join(folder.path, name))
  })
})

describe('the search', () => {
  test('goes upwards and passes a package.json of others', async () => {
    using folder = new ConfigFolder({
      'kora.config.yaml': 'port: 5001',
      'app/package.json': '{ "name": "app" }',
    })
    mkdirSync(join(folder.path, 'app/src'))
    const { values, file } = await loadConfig({ cwd: join(folder.path, 'app/src') })
    expect(values.port).toBe(5001)
    expect(file).toBe(join(folder.path, 'kora.config.yaml'))
  })

  test('takes the nearest', async () => {
    using folder = new ConfigFolder({
      'kora.config.yaml': 'port: 1',
      'app/kora.config.json': '{ "port": 2 }',
    })
    expect((await loadConfig({ cwd: join(folder.path, 'app') })).values.port).toBe(2)
  })

  test('finds nothing: everything is as by default', async () => {
    using folder = new ConfigFolder()
    const { values, file } = await loadConfig({ cwd: folder.path })
    expect(file).toBeNull()
    expect(values).toMatchObject({
      host: '0.0.0.0',
      port: 4567,
      path: '/',
      store: { driver: 'sqlite', filename: join(folder.path, 'kora-server.db'), durability: 'full' },
      schema: null,
      schemaVersion: 1,
      auth: { mode: 'none' },
    })
  })

  test('--config names a file from the working directory, and there is no search', async () => {
    using folder = new ConfigFolder({ 'kora.config.yaml': 'port: 1', 'deploy/server.yaml': 'port: 2' })
    const named = await loadConfig({ cwd: folder.path, configFile: 'deploy/server.yaml' })
    expect(named.values.port).toBe(2)
    expect(await messageOf(loadConfig({ cwd: folder.path, configFile: 'other.yaml' }))).toBe(
      `CONFIG_NOT_FOUND: ${join(folder.path, 'other.yaml')} does not exist.`,
    )
  })

  test('reads nothing else in the folder of the process, and runs nothing there', async () => {
    using elsewhere = new ConfigFolder({
      'package.json': '{ "name": "canary" ',
      '.config/config.cjs': "globalThis.canary = 'run'",
    })
    using folder = new ConfigFolder({ 'server.yaml': 'port: 2' })
    const before = process.cwd()
    process.chdir(elsewhere.path)
    try {
      const { values } = await loadConfig({ cwd: folder.path, configFile: 'server.yaml' })
      expect(values.port).toBe(2)
      expect(globalThis).not.toHaveProperty('canary')
    } finally {
      process.chdir(before)
    }
  })

  test('--config of another kind says which there are', async () => {
    using folder = new ConfigFolder({ 'server.toml': 'port = 2' })
    expect(await messageOf(loadConfig({ cwd: folder.path, configFile: 'server.toml' }))).toBe(
      'CONFIG_INVALID: server.toml is of no kind that is known: .ts, .mts, .js, .mjs, .cjs, .json, .yaml, .yml, or without an extension',
    )
  })

  test.each([
    ['server.yaml', '{} # nothing yet\n'],
    ['server.json', '{}'],
    ['server.js', 'export default {}'],
    ['server.mjs', 'export default {}'],
    ['package.json', '{ "kora": {} }'],
  ])('a named file that says that nothing is changed does so: %s', async (name, content) => {
    using folder = new ConfigFolder({ [name]: content })
    const { values, file } = await loadConfig({ cwd: folder.path, configFile: name })
    expect(values.port).toBe(4567)
    expect(file).toBe(join(folder.path, name))
  })
})

describe('a file that cannot be read stops the search, and shows none of its content', () => {
  const rows: readonly [name: string, content: string, message: string][] = [
    [
      'kora.config.json',
      '{\n  "auth": { "secret": "canary" "x": 1 }\n}',
      `is not valid JSON: expected ',' or '}' after property value (line 2:32)`,
    ],
    ['kora.config.json', '{ "secret": canary }', 'is not valid JSON: unexpected token'],
    ['kora.config.json', 'canary', 'is not valid JSON: unexpected token'],
    ['kora.config.json', 'undefined', 'is not valid JSON'],
    [
      'kora.config.json',
      '{ "secret": "canary"',
      `is not valid JSON: expected ',' or '}' after property value (line 1:21)`,
    ],
    ['kora.config.json', '{ "secret":', 'is not valid JSON: unexpected end of JSON input'],
    [
      'kora.config.yaml',
      'auth:\n  secret: "canary\nport: 1',
      'is not valid YAML: unexpected end of the stream within a double quoted scalar (line 4:1)',
    ],
    [
      'kora.config.yaml',
      'auth:\n  secret: *canary',
      `is not valid YAML: unidentified alias … (line 2:18)${NEEDS_QUOTES}`,
    ],
    [
      'kora.config.yaml',
      'auth:\n  secret: !canary^zzz',
      `is not valid YAML: tag name cannot contain such characters: … (line 2:22)${NEEDS_QUOTES}`,
    ],
    [
      'kora.config.yaml',
      'auth:\n  secret: %canary',
      `is not valid YAML: bad indentation of a mapping entry (line 2:11)${NEEDS_QUOTES}`,
    ],
    [
      'kora.config.ts',
      'export default { secret: "canary" port: 1 }',
      'cannot be loaded: ParseError: Unexpected token, expected "," (line 1:34)',
    ],
    [
      'kora.config.ts',
      "import './missing.ts'\nexport default {}",
      "cannot be loaded: Cannot find module './missing.ts' (line 1)",
    ],
    ['kora.config.ts', "throw new Error('set MY_VARIABLE')", 'cannot be loaded: set MY_VARIABLE (line 1)'],
    [
      'kora.config.mjs',
      "import fs from 'node:fs'\nexport default fs.readFileSync('/nowhere')",
      "cannot be loaded: ENOENT: no such file or directory, open '/nowhere' (line 2)",
    ],
    [
      'package.json',
      '{ "name": "app", }',
      'is not valid JSON: expected double-quoted property name (line 1:18)',
    ],
    ['kora.config.ts', "export const config = { auth: { mode: 'jwt' } }", EXPORTS_NOTHING],
    ['kora.config.ts', "import { defineConfig } from 'kora-server'\ndefineConfig({})", EXPORTS_NOTHING],
    ['kora.config.mjs', 'export default undefined', EXPORTS_NOTHING],
    ['kora.config.cjs', 'module.exports = null', EXPORTS_NOTHING],
    ['kora.config.ts', '', EXPORTS_NOTHING],
    ['kora.config.js', "const config = { auth: { mode: 'jwt' } }", EXPORTS_NOTHING],
    ['kora.config.cjs', "const config = { auth: { mode: 'jwt' } } // export", EXPORTS_NOTHING],
    ['kora.config.cjs', '', EXPORTS_NOTHING],
    ['kora.config.json', '', IS_EMPTY],
    ['kora.config.json', ' \n', IS_EMPTY],
    ['kora.config.json', 'null', IS_EMPTY],
    ['kora.config.yaml', '# port: 1\n', IS_EMPTY],
    ['kora.config.yml', '---\n', IS_EMPTY],
    ['.korarc', '', IS_EMPTY],
    ['.korarc.json', '\uFEFF', IS_EMPTY],
  ]
  test.each(rows)('%s %j', async (name, content, message) => {
    using folder = new ConfigFolder({
      'app/.keep': '',
      [`app/${name}`]: content,
      'kora.config.yml': 'port: 1',
    })
    const text = await messageOf(loadConfig({ cwd: join(folder.path, 'app') }))
    expect(text).toBe(`CONFIG_INVALID: ${name} ${message}`)
    expect(text).not.toContain('canary')
  })

  test.each([
    ['server.yaml', '# port: 1\n', IS_EMPTY],
    ['server.json', '', IS_EMPTY],
    ['server.cjs', 'const config = { port: 1 }', EXPORTS_NOTHING],
    ['package.json', '{ "name": "app" }', 'has no key "kora".'],
  ])('nor is one taken for empty on purpose when it is named: %s %j', async (name, content, message) => {
    using folder = new ConfigFolder({ [name]: content })
    expect(await messageOf(loadConfig({ cwd: folder.path, configFile: name }))).toBe(
      `CONFIG_INVALID: ${name} ${message}`,
    )
  })

  test('a file in another folder is named with it', async () => {
    using folder = new ConfigFolder({ 'etc/server.yaml': 'port: [', 'etc/package.json': '{}' })
    const messageWith = (configFile: string) => messageOf(loadConfig({ cwd: folder.path, configFile }))
    expect(await messageWith('etc/server.yaml')).toMatch(
      /^CONFIG_INVALID: etc\/server\.yaml is not valid YAML/,
    )
    expect(await messageWith('etc/package.json')).toBe('CONFIG_INVALID: etc/package.json has no key "kora".')
  })

  test('nor is a script that exports none taken for an empty one when it is named', async () => {
    using folder = new ConfigFolder({ 'server.ts': "export const config = { auth: { mode: 'jwt' } }" })
    expect(await messageOf(loadConfig({ cwd: folder.path, configFile: 'server.ts' }))).toBe(
      `CONFIG_INVALID: server.ts ${EXPORTS_NOTHING}`,
    )
  })

  test.each(['- a\n- b', '"text"', '7'])('%j is no configuration', async (content) => {
    using folder = new ConfigFolder({ 'kora.config.yaml': content })
    expect(await messageOf(loadConfig({ cwd: folder.path }))).toBe(
      'CONFIG_INVALID: kora.config.yaml: 1 problem\nconfiguration: expected an object',
    )
  })
})

describe('a file that the app shares', () => {
  test('gives its key server to the server, and its schema', async () => {
    using folder = new ConfigFolder({
      'kora.config.ts':
        "export default { schema: './schema.ts', dev: { port: 3000 }, server: { port: 5001 } }",
      'schema.ts': SCHEMA,
    })
    const { values } = await loadConfig({ cwd: folder.path })
    expect(values.port).toBe(5001)
    expect(values.schema?.file).toBe(join(folder.path, 'schema.ts'))
  })

  test('may name another schema for the server', async () => {
    using folder = new ConfigFolder({
      'kora.config.ts': "export default { schema: './app.ts', server: { schema: './schema.ts' } }",
      'schema.ts': SCHEMA,
    })
    const { values } = await loadConfig({ cwd: folder.path })
    expect(values.schema?.file).toBe(join(folder.path, 'schema.ts'))
  })

  test('shows where in it a problem lies', async () => {
    using folder = new ConfigFolder({ 'kora.config.json': '{ "dev": {}, "server": { "prot": 1 } }' })
    expect(await messageOf(loadConfig({ cwd: folder.path }))).toBe(
      'CONFIG_INVALID: kora.config.json: 1 problem\nserver.prot: unknown, did you mean port?',
    )
  })

  test('keeps nobody out by what stands beside server, and says so', async () => {
    const secret = 'canary: a secret of over thirty-two characters'
    using folder = new ConfigFolder({
      'kora.config.json': JSON.stringify({
        server: { port: 5001, admin: { adminToken: 'a' } },
        auth: { mode: 'kora', secret },
        admin: { adminToken: 'b' },
        tls: { certFile: 'a', keyFile: 'b' },
      }),
    })
    expect(await messageOf(loadConfig({ cwd: folder.path }))).toBe(
      [
        'CONFIG_INVALID: kora.config.json: 2 problems',
        ...['auth', 'tls'].map(
          (name) =>
            `server.${name}: missing; ${name} stands beside server, where the server does not read it. Move it into server`,
        ),
      ].join('\n'),
    )
  })

  test('may leave who is kept out to a variable, which is warned of', async () => {
    const secret = 'canary: a secret of over thirty-two characters'
    const config = { auth: { mode: 'ours' }, admin: { adminToken: 'b' }, server: { port: 5001 } }
    using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify(config) })
    const load = (env: { readonly [name: string]: string }) => loadConfig({ cwd: folder.path, env })

    const { values, doubts } = await load({ KORA_AUTH_SECRET: secret, KORA_ADMIN_TOKEN: 'canary' })
    expect(values.auth.mode).toBe('kora')
    expect(doubts.map(({ subject }) => subject)).toEqual(['auth', 'admin'])
    // Metrics have a token of their own, and everything else is as open as before.
    expect(await messageOf(load({ KORA_AUTH_SECRET: secret, KORA_METRICS_TOKEN: 'canary' }))).toMatch(
      /1 problem\nserver\.admin: missing;/,
    )
    expect(await messageOf(load({ KORA_ADMIN_TOKEN: 'canary' }))).toMatch(/1 problem\nserver\.auth: missing;/)
  })

  test('may have tools whose options have the names of those of the server', async () => {
    using folder = new ConfigFolder({
      'kora.config.json': '{ "port": 3000, "log": {}, "dev": {}, "server": { "port": 5001 } }',
    })
    const { values, doubts } = await loadConfig({ cwd: folder.path })
    expect(values.port).toBe(5001)
    expect(doubts.map(({ subject }) => subject)).toEqual(['log'])
  })

  test('without a key server is read as a whole', async () => {
    using folder = new ConfigFolder({ 'kora.config.json': '{ "dev": {}, "port": 1 }' })
    expect(await messageOf(loadConfig({ cwd: folder.path }))).toContain('dev: unknown')
  })

  test('whose server is no object is wrong', async () => {
    using folder = new ConfigFolder({ 'kora.config.json': '{ "server": true }' })
    expect(await messageOf(loadConfig({ cwd: folder.path }))).toBe(
      'CONFIG_INVALID: kora.config.json: 1 problem\nserver: expected an object',
    )
  })
})

const SCHEMA = `import { defineSchema, t } from '@korajs/core'
export default defineSchema({ version: 2, collections: { todos: { fields: { title: t.string() } } } })`
