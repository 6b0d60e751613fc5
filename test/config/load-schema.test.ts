import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load-config.ts'
import { loadExport } from '../../src/config/load-module.ts'
import { loadSchemaFile } from '../../src/config/load-schema.ts'
import { ConfigFolder } from '../support/config-folder.ts'

const definition = 'defineSchema({ version: 3, collections: { todos: { fields: { title: t.string() } } } })'

describe('a schema file', () => {
  test.each(['korajs', '@korajs/core', 'kora-server'])(
    'loads with imports of %s where nothing is installed, as default or named export',
    async (name) => {
      using folder = new ConfigFolder({
        'default.ts': `import { defineSchema, t } from '${name}'\nexport default ${definition}`,
        'named.ts': `import { defineSchema, t } from '${name}'\nexport const schema = ${definition}`,
        'common.cjs': `const { defineSchema, t } = require('${name}')\nmodule.exports = ${definition}`,
      })
      for (const file of ['default.ts', 'named.ts', 'common.cjs']) {
        const schema = await loadSchemaFile(join(folder.path, file))
        expect(schema.version).toBe(3)
        expect(schema.collections.todos?.fields.title?.kind).toBe('string')
      }
    },
  )

  test('loads with migrations', async () => {
    using folder = new ConfigFolder({
      'schema.ts': `import { defineSchema, migrate, t, type InferRecord } from '@korajs/core'
        export const schema = defineSchema({
          version: 2,
          collections: { todos: { fields: { title: t.string(), priority: t.number().default(0) } } },
          migrations: { 2: migrate().addField('todos', 'priority', t.number().default(0)) },
        })
        export type Todo = InferRecord<typeof schema, 'todos'>`,
    })
    const { migrations } = await loadSchemaFile(join(folder.path, 'schema.ts'))

    expect(migrations[2]?.steps).toMatchObject([{ type: 'addField', field: 'priority' }])
  })

  test('uses the package of the app where it is installed', async () => {
    using folder = new ConfigFolder({
      'node_modules/korajs/package.json':
        '{ "name": "korajs", "type": "module", "exports": { "import": "./index.js" } }',
      'node_modules/korajs/index.js': `export const t = { string: () => ({ kind: 'string', required: true }) }
        export const defineSchema = (schema) => ({ ...schema, version: 7 })`,
      'schema.ts': `import { defineSchema, t } from 'korajs'\nexport default ${definition}`,
    })
    expect((await loadSchemaFile(join(folder.path, 'schema.ts'))).version).toBe(7)
  })

  test('may be several files', async () => {
    using folder = new ConfigFolder({
      'schema.ts':
        "import { todos } from './parts/todos'\nimport { defineSchema } from 'korajs'\nexport default defineSchema({ version: 1, collections: { todos } })",
      'parts/todos.ts':
        "import { t } from 'korajs'\nexport const todos = { fields: { title: t.string() as never } }",
    })
    expect(Object.keys((await loadSchemaFile(join(folder.path, 'schema.ts'))).collections)).toEqual(['todos'])
  })

  test('gives the version that the server expects', async () => {
    using folder = new ConfigFolder({
      'kora.config.json': '{ "schema": "schema.ts" }',
      'schema.ts': `import { defineSchema, t } from 'korajs'\nexport default ${definition}`,
    })
    const { values, entries } = await loadConfig({ cwd: folder.path })
    expect(values.schemaVersion).toBe(3)
    expect(values.supportedSchemaVersions).toEqual({ min: 3, max: 3 })
    expect(entries.find(({ path }) => path === 'schemaVersion')?.origin).toEqual({ kind: 'schema' })
  })

  test('may be an object in the configuration', async () => {
    using folder = new ConfigFolder({
      'kora.config.ts': `import { defineConfig, defineSchema, t } from 'kora-server'\nexport default defineConfig({ schema: ${definition} })`,
    })
    const { values, entries } = await loadConfig({ cwd: folder.path })
    expect(values.schema).toMatchObject({ definition: { version: 3 }, file: null })
    expect(entries.find(({ path }) => path === 'schema')?.display).toBe('(in the configuration)')
  })
})

describe('a schema file that is wrong is named, with the reason', () => {
  const rows: readonly [content: string, message: string][] = [
    ['export const other = 1', 'exports no schema: export it by default, or as "schema"'],
    ['export default 7', 'The schema has 3 problems:\nschema: is not an object'],
    [
      "export default { version: 0, collections: { todos: { fields: { title: { kind: 'string' } } } } }",
      'The schema has 1 problem:\nversion: must be a whole number from 1',
    ],
    [
      `import { defineSchema } from 'korajs'
      export default defineSchema({ version: 0, collections: { 'a b': { fields: {} }, c: { fields: 7 } } })`,
      `cannot be loaded: The schema has 4 problems:
version: must be a whole number from 1`,
    ],
    ["\nthrow new Error('broken')", 'cannot be loaded: broken (line 2)'],
    [
      "import { t } from 'kora-server'\nexport default {\n  fields: t.boolean().defualt(false),\n}",
      'cannot be loaded: t.boolean(...).defualt is not a function (line 3)',
    ],
    ['export default {', 'cannot be loaded: ParseError: Unexpected token (line 1:16)'],
  ]
  test.each(rows)('%j', async (content, message) => {
    using folder = new ConfigFolder({ 'schema.ts': content, 'kora.config.json': '{ "schema": "schema.ts" }' })
    const file = join(folder.path, 'schema.ts')
    await expect(loadSchemaFile(file)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`${file}: ${message}`),
    })
    await expect(loadConfig({ cwd: folder.path })).rejects.toThrow(
      `kora.config.json: 1 problem\nschema: schema.ts: ${message}`,
    )
  })
})

test('a folder in place of a file is named as one; only a schema may be a folder, with an index file', async () => {
  const key = { file: 'folder' }
  using folder = new ConfigFolder({
    'folder/note.txt': '',
    'module/index.ts': `import { defineSchema, t } from 'kora-server'\nexport default ${definition}`,
    'files.config.json': JSON.stringify({
      schema: 'empty',
      auth: { mode: 'jwt', jwt: { keys: [key] } },
      tls: { certFile: 'folder', keyFile: 'empty' },
    }),
    'schema.config.json': '{ "schema": "folder" }',
    'module.config.json': '{ "schema": "module" }',
  })
  mkdirSync(join(folder.path, 'empty'))
  const load = (config: string) => loadConfig({ cwd: folder.path, configFile: config })
  const filled = 'is a folder, not a file. Name the file in it.'
  const empty =
    'is a folder, not a file. Docker makes one where the file that it is to mount does not exist: remove it, and create the file.'

  await expect(load('files.config.json')).rejects.toThrow(
    [
      'files.config.json: 4 problems',
      `auth.jwt.keys[0].file: folder ${filled}`,
      `tls.certFile: folder ${filled}`,
      `tls.keyFile: empty ${empty}`,
      `schema: empty: ${empty}`,
    ].join('\n'),
  )
  await expect(load('schema.config.json')).rejects.toThrow(
    `schema.config.json: 1 problem\nschema: folder: ${filled}`,
  )
  expect((await load('module.config.json')).values.schema?.definition.version).toBe(3)
})

test('a file that a schema imports is named, with the line', async () => {
  using folder = new ConfigFolder({
    'schema.ts': "import { fields } from './parts/fields.ts'\nexport default fields()",
    'parts/fields.ts':
      'export interface Unused {\n  a: 1\n}\n\nexport function fields() {\n  return missing\n}',
  })
  const file = join(folder.path, 'schema.ts')
  await expect(loadSchemaFile(file)).rejects.toThrow(
    `${file}: cannot be loaded: missing is not defined (parts/fields.ts, line 6)`,
  )
})

test('a schema that is wrong is told with the flag or variable that named it', async () => {
  using folder = new ConfigFolder({ 'schema.ts': 'export default 7' })
  const schema = 'schema.ts'
  const problem = 'schema.ts: The schema has 3 problems'
  await expect(loadConfig({ cwd: folder.path, flags: { schema } })).rejects.toThrow(
    `schema (--schema): ${problem}`,
  )
  await expect(loadConfig({ cwd: folder.path, env: { KORA_SCHEMA: schema } })).rejects.toThrow(
    `schema (KORA_SCHEMA): ${problem}`,
  )
})

test('a provider file may import the providers of this package', async () => {
  using folder = new ConfigFolder({
    'auth.ts': `import { TokenAuthProvider } from 'kora-server'
      export const provider = new TokenAuthProvider({ validate: (token) => ({ userId: token }) })`,
  })
  const provider = await loadExport(join(folder.path, 'auth.ts'), 'provider')
  expect(await (provider as { authenticate(token: string): unknown }).authenticate('u1')).toEqual({
    userId: 'u1',
  })
})
