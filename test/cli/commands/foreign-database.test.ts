import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { Workspace } from '../../support/terminal.ts'
import { seedDatabase } from '../seed.ts'
import { SCHEMA_FILE } from '../todos-schema.ts'

const REFUSAL = 'The database has a table "todos" that this server has not made'

/** A schema with "todos", and the database of another program that has such a table too. */
function workspaceWithForeign(table: string): Workspace {
  const workspace = new Workspace({ files: { 'schema.mjs': SCHEMA_FILE } })
  workspace.write('kora.config.json', JSON.stringify({ server: { port: 0, schema: './schema.mjs' } }))
  const db = new (loadSqliteDriver())(workspace.path('foreign.db'))
  db.exec(`CREATE TABLE ${table} (x); INSERT INTO ${table} VALUES ('theirs')`)
  db.close()
  return workspace
}

describe('an SQLite file of another program, with a table that the schema asks for,', () => {
  test.each(['todos', 'Todos'])('is refused by whatever looks at it: %s', async (table) => {
    using workspace = workspaceWithForeign(table)

    const check = await workspace.run(['check', '--db', 'foreign.db'])
    const plan = await workspace.run(['migrate', '--plan', '--db', 'foreign.db'])

    expect(check).toMatchObject({ code: 2, stdout: expect.stringContaining(REFUSAL) })
    expect(plan).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(REFUSAL) })
  })

  test.each([[['start']], [['migrate']], [['restore', 'store.bak']]])(
    'is left as it is by %j, and is no store to any other command',
    async (command) => {
      using workspace = workspaceWithForeign('Todos')
      await seedDatabase(workspace.path('kora-server.db'), [])
      await workspace.run(['backup', 'store.bak'])
      const before = readFileSync(workspace.path('foreign.db'))
      const filesBefore = readdirSync(workspace.directory)

      const run = await workspace.run([...command, '--db', 'foreign.db'])

      expect(run).toMatchObject({ code: 2, stderr: expect.stringContaining(REFUSAL) })
      expect(readFileSync(workspace.path('foreign.db')).equals(before)).toBe(true)
      expect(readdirSync(workspace.directory)).toEqual(filesBefore)
      expect(await workspace.run(['backup', 'foreign.bak', '--db', 'foreign.db'])).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('it is not a kora-server store'),
      })
    },
  )

  test('is used where its tables have other names', async () => {
    using workspace = workspaceWithForeign('notes')

    expect(await workspace.run(['check', '--db', 'foreign.db'])).toMatchObject({ code: 0 })
    expect(await workspace.run(['migrate', '--db', 'foreign.db'])).toMatchObject({ code: 0 })
    expect(await workspace.run(['migrate', '--db', 'foreign.db'])).toMatchObject({ code: 0 })
  })
})

test.each(['start', 'migrate'])(
  'a PostgreSQL database with a table that the schema asks for is left as it is by %s',
  async (command) => {
    await using database = await openTestDatabase()
    await database.query('CREATE TABLE todos AS SELECT 1 AS x')
    using workspace = workspaceWithForeign('todos')

    const run = await workspace.run([command, '--db', database.connectionString])

    expect(run).toMatchObject({ code: 2, stderr: expect.stringContaining(REFUSAL) })
    const tables = await database.query(
      "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    expect(tables).toEqual([{ relname: 'todos' }])
  },
)

const WRITERS = [
  [['revoke', '--all']],
  [['revoke', '--undo', '--user', 'ada']],
  [['compact', '--schema', 'schema.mjs']],
]

describe('a database of another program, without any of our tables,', () => {
  test.each(WRITERS)('is left as it is by %j: an SQLite file', async (command) => {
    using workspace = workspaceWithForeign('notes')
    const before = readFileSync(workspace.path('foreign.db'))
    const filesBefore = readdirSync(workspace.directory)

    const run = await workspace.run([...command, '--db', 'foreign.db'])

    const stderr = expect.stringContaining(
      'foreign.db: it is not a kora-server store. Start the server on it first.',
    )
    expect(run).toMatchObject({ code: 1, stdout: '', stderr })
    expect(readFileSync(workspace.path('foreign.db')).equals(before)).toBe(true)
    expect(readdirSync(workspace.directory)).toEqual(filesBefore)
  })

  test.each(WRITERS)('is left as it is by %j: in PostgreSQL', async (command) => {
    await using database = await openTestDatabase()
    using workspace = workspaceWithForeign('notes')

    const run = await workspace.run([...command, '--db', database.connectionString])

    expect(run).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('its schema "public" holds no kora-server store.'),
    })
    expect(await database.query("SELECT 1 FROM pg_class WHERE relname LIKE '\\_kora%'")).toEqual([])
  })
})
