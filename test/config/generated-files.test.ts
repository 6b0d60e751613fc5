import { readFileSync } from 'node:fs'
import { is } from 'valibot'
import { describe, expect, test } from 'vitest'
import { configJsonSchema } from '../../scripts/reference/config-json-schema.ts'
import { configReference } from '../../scripts/reference/config-reference.ts'
import { loadConfig } from '../../src/config/load-config.ts'
import { buildOptionTree } from '../../src/config/option-tree.ts'
import { configFlags, OPTIONS } from '../../src/config/options.ts'

const projectFile = (path: string) => new URL(`../../${path}`, import.meta.url)
const read = (path: string) => readFileSync(projectFile(path), 'utf8')

describe('what follows from the table of options is up to date (npm run generate)', () => {
  test('docs/configuration.md', () => {
    expect(read('docs/configuration.md')).toBe(configReference())
  })

  test('config/kora.config.schema.json', () => {
    expect(JSON.parse(read('config/kora.config.schema.json'))).toEqual(
      JSON.parse(JSON.stringify(configJsonSchema())),
    )
  })
})

describe('the table', () => {
  test('describes every path once, groups before what is in them, and defaults that are valid', () => {
    expect(() => buildOptionTree()).not.toThrow()
    expect(new Set(OPTIONS.map(({ path }) => path)).size).toBe(OPTIONS.length)
    for (const option of OPTIONS) {
      if (!('type' in option) || option.default === undefined) continue
      expect([option.path, is(option.type.schema, option.default)]).toEqual([option.path, true])
    }
  })

  test('gives the flags of the command line their help', () => {
    expect(configFlags()).toEqual([
      { flag: '--host <address>', help: 'address to listen on (env KORA_HOST)' },
      { flag: '--port <number>', help: 'port to listen on; 0 takes any free one (env PORT)' },
      { flag: '--path <path>', help: 'URL path that sync clients connect to (env KORA_PATH)' },
      { flag: '--store <driver>', help: 'sqlite, postgres or memory' },
      {
        flag: '--db <file or URL>',
        help: 'SQLite file; created when it does not exist (env KORA_DB) or URL of the PostgreSQL database (env DATABASE_URL)',
      },
      {
        flag: '--schema <file>',
        help: 'file with the schema of the app (default export, or an export named schema) (env KORA_SCHEMA)',
      },
      {
        flag: '--log-level <level>',
        help: 'the least important lines that are written (env KORA_LOG_LEVEL)',
      },
    ])
  })
})

test('the example configuration loads, with its schema', async () => {
  const { values } = await loadConfig({ cwd: '/', configFile: projectFile('config/kora.config.ts').pathname })
  expect(values).toMatchObject({ port: 4567, store: { driver: 'sqlite' }, auth: { mode: 'none' } })
  expect(Object.keys(values.schema?.definition.collections ?? {})).toEqual(['projects', 'todos'])
})
