import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { Workspace } from '../../support/terminal.ts'
import { manyTodos, seedDatabase } from '../seed.ts'
import { SCHEMA_FILE } from '../todos-schema.ts'

const files = { 'schema.mjs': SCHEMA_FILE, 'kora.config.json': '{"schema":"schema.mjs"}' }
const WITH_SUBTITLE = SCHEMA_FILE.replace('"title":', '"subtitle":{"kind":"string"},"title":')

/** A new field that every record must have, and one that was optional. */
const WITH_NEEDED = SCHEMA_FILE.replace(
  '"title":',
  '"owner":{"kind":"string","required":true},"title":',
).replace(/("estimate":\{"kind":"number","required":)false/, '$1true')

const LAYOUT_1 = new URL('../../store/sqlite/files/layout-1.sql', import.meta.url)

function execute(filename: string, sql: string): void {
  const db = new (loadSqliteDriver())(filename)
  db.exec(sql)
  db.close()
}

/** What makes the tables and indexes of the log; SQLite writes it anew where a column was added. */
function tablesOfTheLog(filename: string): unknown[] {
  const db = new (loadSqliteDriver())(filename, { readonly: true })
  const sql = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name LIKE '_kora%' ORDER BY type, name"
  const rows = db.prepare(sql).all()
  const layout = db.prepare("SELECT * FROM _kora_meta WHERE key = 'layout'").all()
  db.close()
  return [...rows, ...layout]
}

describe('migrate', () => {
  test('creates the tables, and does nothing the second time', async () => {
    using workspace = new Workspace({ files })

    const first = await workspace.run(['migrate'])
    const second = await workspace.run(['migrate'])

    expect(first.code).toBe(0)
    expect(first.stdout).toMatch(/^todos +0 +(?!unchanged)\S/m)
    expect(second).toMatchObject({
      code: 0,
      stdout: 'collection  records  change\ntodos       0        unchanged\nprojects    0        unchanged\n',
    })
    expect(second.stderr).toMatch(/^SQLite, kora-server\.db: done in /)
  })

  test('fills a new column from the log', async () => {
    using workspace = new Workspace({ files })
    await seedDatabase(workspace.path('kora-server.db'), [{ title: 'a', subtitle: 'kept in the log' }])
    workspace.write('next.mjs', WITH_SUBTITLE)

    const { code, stdout } = await workspace.run(['migrate', '--schema', 'next.mjs'])
    const query = await workspace.run(['query', 'todos', '--fields', 'subtitle'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^todos +1 +.*subtitle/m)
    expect(JSON.parse(query.stdout)).toEqual([{ subtitle: 'kept in the log' }])
  })

  test('indexes by what the scopes of the configuration decide by, which leaves nothing to a start', async () => {
    const auth = {
      mode: 'mixed',
      secret: 'a secret of at least thirty-two characters',
      scopes: { todos: { title: '$claims.sub' } },
      anonymous: { scopes: { projects: {} } },
    }
    const config = JSON.stringify({ schema: 'schema.mjs', auth })
    using workspace = new Workspace({ files: { ...files, 'scoped.json': config } })
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(450))
    const scoped = ['--config', 'scoped.json']

    const check = await workspace.run(['check', ...scoped])
    const plan = await workspace.run(['migrate', '--plan', ...scoped])
    const { code, stdout, stderr } = await workspace.run(['migrate', ...scoped], { isTerminal: true })

    expect(check.stdout).toMatch(/Pending, .*:\n +todos: operations indexed by "title", for scopes$/m)
    expect(plan.stdout).toBe(
      '-- index the operations of "todos" by "title", for scopes\n' +
        '-- index the operations of "projects" as a whole, for scopes\n',
    )
    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^todos +450 +operations indexed by "title"/m),
    })
    expect(stderr).toContain('indexing todos')
    const store = createSqliteServerStore({ filename: workspace.path('kora-server.db') })
    expect(await store.isScopeFieldTracked('todos', 'title')).toBe(true)
    expect(await store.isScopeFieldTracked('projects', null)).toBe(true)
    await store.close()
    expect(await workspace.run(['migrate', '--plan', ...scoped])).toMatchObject({
      stdout: '',
      stderr: expect.stringContaining('Nothing to do'),
    })
  })

  test('rebuilds the collections that are named', async () => {
    using workspace = new Workspace({ files })
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(3))

    const { code, stdout } = await workspace.run(['migrate', '--rebuild', 'todos'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^todos +3 +rebuilt from the log$/m)
    expect(stdout).toMatch(/^projects +0 +unchanged$/m)
  })

  test('shows how far it is on a terminal only', async () => {
    using workspace = new Workspace({ files })
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(500))

    const onTerminal = await workspace.run(['migrate', '--rebuild'], { isTerminal: true, columns: 120 })
    const inPipe = await workspace.run(['migrate', '--rebuild'])

    expect(onTerminal.stderr).toContain('rebuilding todos')
    expect(onTerminal.stderr).toMatch(/500 of 500 records|\d+\/s/)
    expect(inPipe.stderr).not.toContain('rebuilding')
  })

  test('makes the tables of the log without a schema, and says so', async () => {
    using workspace = new Workspace()

    const { code, stdout, stderr } = await workspace.run(['migrate'])

    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    expect(stderr).toContain('No schema is configured')
    expect(existsSync(workspace.path('kora-server.db'))).toBe(true)
  })
})

describe('migrate --plan', () => {
  test('prints SQL and changes nothing, not even an empty file', async () => {
    using workspace = new Workspace({ files })

    const { code, stdout } = await workspace.run(['migrate', '--plan'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^create table .*"todos".*;$/im)
    expect(existsSync(workspace.path('kora-server.db'))).toBe(false)
  })

  test('of a store that is up to date prints nothing on stdout', async () => {
    using workspace = new Workspace({ files })
    await workspace.run(['migrate'])

    expect(await workspace.run(['migrate', '--plan'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'Nothing to do: the store is what the schema asks for.\n',
    })
  })

  test('warns of a field that is required now, as soon as records may lack it', async () => {
    using workspace = new Workspace({ files })
    workspace.write('next.mjs', WITH_NEEDED)
    const plan = () => workspace.run(['migrate', '--plan', '--schema', 'next.mjs'])
    await workspace.run(['migrate'])

    const empty = await plan()
    await seedDatabase(workspace.path('kora-server.db'), [{ title: 'a' }])
    const filled = await plan()

    expect(empty.stderr).not.toContain('required now')
    for (const field of ['owner', 'estimate']) {
      expect(filled.stderr).toMatch(new RegExp(`^todos: field "${field}" is required now .* default`, 'm'))
    }
    expect(filled.stderr.match(/required now/g)).toHaveLength(2)
    expect((await workspace.run(['check', '--schema', 'next.mjs'])).stdout).toMatch(
      /^warning +schema +Pending, .*:\n(.*\n)*? +todos: field "owner" is required now/m,
    )
  })

  test('counts what was written of a field before the schema had it, and does not fit', async () => {
    using workspace = new Workspace({ files })
    await seedDatabase(workspace.path('kora-server.db'), [
      { title: 'a', subtitle: 5 },
      { title: 'b', subtitle: 'fits' },
      { title: 'c', subtitle: [] },
    ])
    workspace.write('next.mjs', WITH_SUBTITLE.replace('"string"', '"string","required":false'))
    const told = /todos: field "subtitle" must be a string, which it is not in 2 operations of the log: new/

    const check = await workspace.run(['check', '--schema', 'next.mjs'])
    const plan = await workspace.run(['migrate', '--plan', '--schema', 'next.mjs'])
    const done = await workspace.run(['migrate', '--schema', 'next.mjs'])

    expect(check.stdout).toMatch(told)
    expect(plan.stderr).toMatch(told)
    expect(done.stdout).toMatch(/^todos +3 +.*"subtitle" must be a string, which it is not in 2 operations/m)
    expect((await workspace.run(['migrate', '--plan', '--schema', 'next.mjs'])).stderr).toMatch(
      /^Nothing to do/,
    )
  })

  test('prints all that creates a store', async () => {
    using workspace = new Workspace({ files })
    await workspace.run(['migrate', '--db', 'migrated.db'])

    const { stdout } = await workspace.run(['migrate', '--plan'])
    execute(workspace.path('kora-server.db'), stdout)

    const planned = tablesOfTheLog(workspace.path('kora-server.db'))
    expect(planned).toEqual(tablesOfTheLog(workspace.path('migrated.db')))
  })

  test('prints the steps from the layout of an earlier release, and leaves it as it is', async () => {
    using workspace = new Workspace()
    for (const name of ['by-hand.db', 'migrated.db']) {
      execute(workspace.path(name), readFileSync(LAYOUT_1, 'utf8'))
    }
    const plan = ['migrate', '--plan', '--db', 'by-hand.db']

    const check = await workspace.run(['check', '--db', 'by-hand.db'])
    const first = await workspace.run(plan)
    const second = await workspace.run(plan)
    execute(workspace.path('by-hand.db'), first.stdout)
    await workspace.run(['migrate', '--db', 'migrated.db'])

    expect(check.stdout).toMatch(/^warning +schema +Pending, .*:\n +the tables of the log: made as/m)
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^DROP INDEX _kora_\w+;$/m) })
    expect(first.stderr).toBe('the tables of the log: made as this release needs them\n')
    expect(second).toEqual(first)
    expect(tablesOfTheLog(workspace.path('by-hand.db'))).toEqual(
      tablesOfTheLog(workspace.path('migrated.db')),
    )
    expect(await workspace.run(plan)).toMatchObject({
      stdout: '',
      stderr: expect.stringContaining('Nothing to do'),
    })
  })

  test('goes by the schema of the store where none is configured', async () => {
    using workspace = new Workspace({ files: { 'schema.mjs': SCHEMA_FILE, 'empty.db': '' } })
    await workspace.run(['migrate', '--schema', 'schema.mjs'])

    expect(await workspace.run(['migrate', '--plan'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'Nothing to do: the store is what the schema asks for.\n',
    })
    const without = await workspace.run(['migrate', '--plan', '--db', 'empty.db'])
    expect(without).toMatchObject({ code: 0, stdout: expect.stringContaining('CREATE TABLE _kora_meta') })
    expect(without.stderr).toContain('No schema is configured')
    expect(readFileSync(workspace.path('empty.db'), 'utf8')).toBe('')
  })

  test('shows the step to a new schema', async () => {
    using workspace = new Workspace({ files })
    await workspace.run(['migrate'])
    workspace.write('next.mjs', WITH_SUBTITLE)

    const plan = await workspace.run(['migrate', '--plan', '--schema', 'next.mjs'])
    const query = await workspace.run(['query', 'todos', '--where', 'subtitle=x'])

    expect(plan.stdout).toMatch(/alter table .*"todos".*"subtitle"/i)
    expect(query.code).toBe(2) // the column is still unknown
  })
})

describe('mistakes', () => {
  test.each([
    [['--plan', '--rebuild'], '--plan and --rebuild cannot be used together.'],
    [['--rebuild', 'todo'], 'Unknown collection "todo"'],
    [['--schema', 'missing.ts'], 'missing.ts'],
  ])('migrate %s ends with 2', async (args, message) => {
    using workspace = new Workspace({ files })

    const run = await workspace.run(['migrate', ...args])

    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain(message)
    expect(existsSync(workspace.path('kora-server.db'))).toBe(false)
  })

  test('a rebuild without a schema makes no database, and goes by the tables of one that is there', async () => {
    using workspace = new Workspace()

    const nowhere = await workspace.run(['migrate', '--rebuild'])
    expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining('No schema is configured.') })
    expect(existsSync(workspace.path('kora-server.db'))).toBe(false)

    await seedDatabase(workspace.path('kora-server.db'), manyTodos(1))
    const there = await workspace.run(['migrate', '--rebuild'])
    expect(there).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^todos +1 +rebuilt from the log$/m),
    })
  })

  test('a change that would lose data is refused with exit code 2', async () => {
    using workspace = new Workspace({ files })
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(1))
    workspace.write('next.mjs', SCHEMA_FILE.replace(/"kind":"string"/, '"kind":"number"'))

    const run = await workspace.run(['migrate', '--schema', 'next.mjs'])

    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain('title')
  })
})
