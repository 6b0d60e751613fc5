import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../src/core/schema/types.ts'
import { createPostgresServerStore, createSqliteServerStore } from '../../src/index.ts'
import type { Damage } from '../../src/store/damage/damage.ts'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { todoSchema } from '../support/todo-app.ts'

/** A database of some store, and SQL that somebody runs on it behind the store's back. */
interface DamagedDatabase extends AsyncDisposable {
  open(): Promise<ServerStore>
  run(sql: string): Promise<unknown>
}

async function sqliteDatabase(): Promise<DamagedDatabase> {
  const directory = mkdtempSync(join(tmpdir(), 'kora-damage-'))
  const filename = join(directory, 'store.db')
  return {
    open: async () => createSqliteServerStore({ filename }),
    async run(sql) {
      const db = new (loadSqliteDriver())(filename)
      db.exec(sql)
      db.close()
    },
    [Symbol.asyncDispose]: async () => rmSync(directory, { recursive: true, force: true }),
  }
}

async function postgresDatabase(): Promise<DamagedDatabase> {
  const database = await openTestDatabase()
  return {
    open: () => createPostgresServerStore({ connectionString: database.connectionString }),
    run: (sql) => database.query(sql),
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
}

async function fill(database: DamagedDatabase): Promise<void> {
  const store = await database.open()
  await store.setSchema(todoSchema)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  const author = new OperationAuthor('phone')
  const operations = ['a', 'b', 'c'].flatMap((id) => [
    author.insert(id, { title: `title of ${id}`, done: false, count: 0, tags: ['x'], userId: `user-${id}` }),
    author.update(id, { done: true, tags: ['x', 'y'] }),
  ])
  await appendAll(store, [...operations, author.update('a', { userId: 'user-b' }), author.delete('c')])
  await store.close()
}

async function opened(database: DamagedDatabase): Promise<ServerStore & AsyncDisposable> {
  const store = await database.open()
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() })
}

async function lastOf(store: ServerStore): Promise<{ readonly deliverySequence: number }> {
  const { entries } = await store.readLog(0, 1000, 1e6)
  return entries.at(-1) ?? { deliverySequence: 0 }
}

const DAMAGED_SCHEMA = /^"schema" in _kora_meta is damaged \(.+\)\. Restore a backup\.$/s

async function damageIn(database: DamagedDatabase, schema: SchemaDefinition = todoSchema): Promise<string[]> {
  const store = await database.open()
  const damage: Damage[] = []
  await store.findDamage?.({ onDamage: (found) => damage.push(found), schema })
  await store.close()
  return damage.filter(({ isCertain }) => isCertain).map(({ place, problem }) => `${place}: ${problem}`)
}

describe.each([
  { name: 'SQLite', open: sqliteDatabase },
  { name: 'PostgreSQL', open: postgresDatabase },
])('looking through $name', ({ open }) => {
  test('finds nothing in a sound store', async () => {
    await using database = await open()
    await fill(database)

    expect(await damageIn(database)).toEqual([])
  })

  test('finds nothing wrong with what guests of a device have sent, unless they are said to have sent more', async () => {
    await using database = await open()
    await fill(database)
    const store = await database.open()
    const guest = { speaker: { guest: 'ada' } } as const
    const shared = new OperationAuthor('shared')
    const ofItsOwner = new OperationAuthor('phone')
    for (const id of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) ofItsOwner.insert(id, {}) // as many as are stored
    await appendAll(
      store,
      [shared.insert('d', { title: 'd' }), ofItsOwner.insert('e', { title: 'e' })],
      guest,
    )
    await store.close()

    expect(await damageIn(database)).toEqual([])
    await database.run(`UPDATE _kora_nodes SET max_sequence = 99 WHERE node_id LIKE 'shared_%'`)
    expect(await damageIn(database)).toEqual([
      'node shared: the version vector says 99 of a guest, and its last operation is 1',
    ])
  })

  test('finds nothing wrong with a restored backup, whose entries count what is not in it', async () => {
    await using source = await open()
    await using target = await open()
    await fill(source)
    await using original = await opened(source)
    const forgotten = new OperationAuthor('forgotten')
    await appendAll(original, [forgotten.insert('x', { title: 'x' }), forgotten.delete('x')])
    await appendAll(original, [new OperationAuthor('last').insert('y', { title: 'y' })])
    const rules = { supersededBefore: null, deletedBefore: Date.now() }
    await original.compactStep(0, rules)
    const entries = [...(await original.getVersionVector())]
    const backup = await original.exportBackup()
    const restored = await target.open()
    await restored.setSchema(todoSchema)
    await restored.importBackup(backup)
    await restored.importBackup(backup, true)
    const own = [restored.getNodeId(), original.getNodeId()]
    expect(new Set(own).size).toBe(2)
    expect([...(await restored.getVersionVector())].sort()).toEqual(entries.sort())
    await restored.close()

    expect(await damageIn(target)).toEqual([])
    await target.run('UPDATE _kora_nodes SET max_sequence = max_sequence + 1')
    expect((await damageIn(target)).map((text) => text.split(',')[0]).sort()).toEqual(
      entries
        .filter(([node]) => !own.includes(node)) // those of servers count what is in no log
        .map(([node, sequence]) => `node ${node}: the version vector says ${sequence + 1}`)
        .sort(),
    )
  })

  test('finds nothing wrong with a collection that the app has in its schema and the store not yet', async () => {
    await using database = await open()
    await fill(database)
    await using store = await opened(database)
    await appendAll(store, [
      new OperationAuthor('tablet').insert('n1', { text: 'x' }, { collection: 'notes' }),
    ])

    const damage: Damage[] = []
    const notes = { fields: { text: t.string() } }
    const { collections } = todoSchema
    const later = defineSchema({ version: 2, collections: { notes } })
    await store.findDamage?.({
      onDamage: (found) => damage.push(found),
      schema: { ...later, collections: { ...collections, ...later.collections } },
    })

    expect(damage.filter(({ isCertain }) => isCertain)).toEqual([])
  })

  test('finds nothing wrong with a field that the app has in its schema and the store not yet', async () => {
    await using database = await open()
    await fill(database)
    await using store = await opened(database)
    const { todos, ...others } = todoSchema.collections as Record<'todos' | 'projects', CollectionDefinition>
    const later = defineSchema({
      version: 2,
      collections: { todos: { fields: { urgent: t.boolean().default(true) } } },
    })
    const fields = { ...todos.fields, ...later.collections.todos?.fields }

    const damage: Damage[] = []
    await store.findDamage?.({
      onDamage: (found) => damage.push(found),
      schema: { ...later, collections: { ...others, todos: { ...todos, fields } } },
    })

    expect(damage.filter(({ isCertain }) => isCertain)).toEqual([])
  })

  test('looks at the schema once, not for each record', async () => {
    const source = () => {
      hashed++
      return '() => "merged"'
    }
    const resolve = { title: Object.assign(() => 'merged', { toString: source }) }
    const fields = { title: t.string() }
    const tagged = { ...fields, tags: t.array(t.string()) }
    const earlier = defineSchema({ version: 1, collections: { todos: { fields: tagged, resolve } } })
    const schema = defineSchema({ version: 2, collections: { todos: { fields, resolve } } })
    let hashed = 0
    const workFor = async (records: number) => {
      await using database = await open()
      const store = await database.open()
      await store.setSchema(earlier)
      const author = new OperationAuthor('a')
      const previous = { previousData: { tags: ['x'] } }
      for (let record = 0; record < records; record++) {
        await appendAll(store, [
          author.insert(`r${record}`, { title: 'one', tags: ['x'] }),
          author.update(`r${record}`, { tags: ['x', 'y'] }, previous),
          author.update(`r${record}`, { tags: ['x', 'z'] }, previous),
        ])
      }
      await store.setSchema(schema)
      await store.close()
      const parse = vi.spyOn(JSON, 'parse')
      hashed = 0
      expect(await damageIn(database, schema)).toEqual([])
      const parsed = parse.mock.calls.filter(([text]) => text.includes('"retired"')).length
      parse.mockRestore()
      return { hashed, parsed }
    }

    expect(await workFor(50)).toEqual(await workFor(1))
    expect(hashed).toBeGreaterThan(0)
  })

  test.each([
    { what: 'a field', collections: { todos: { fields: { title: t.string() } } } },
    { what: 'a collection', collections: { projects: { fields: { name: t.string() } } } },
  ])('finds nothing wrong with $what that the schema no longer has', async ({ collections }) => {
    await using database = await open()
    const schema = defineSchema({ version: 2, collections })
    const store = await database.open()
    await store.setSchema(todoSchema)
    const [a, b] = [new OperationAuthor('a'), new OperationAuthor('b')]
    const previous = { previousData: { tags: ['x'] } }
    await appendAll(store, [
      a.insert('r1', { title: 'one', tags: ['x'] }),
      b.insert('r2', { title: 'two', tags: ['x'] }),
      a.update('r1', { tags: ['x', 'y'] }, previous),
      b.update('r1', { tags: ['x', 'z'] }, { ...previous, timestamp: a.delete('r1').timestamp, nodeId: 'a' }),
    ])
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ tags: ['x', 'y', 'z'] })
    await store.setSchema(schema)
    await store.close()

    expect(await damageIn(database, schema)).toEqual([])
    await database.run(`UPDATE _kora_records SET state = replace(state, '"c":1', '"c":2')`)
    expect(await damageIn(database, schema)).toContain(
      'record todos/r1: its state is not that of the replayed log',
    )
  })

  test('finds nothing where an earlier release kept a record as encrypted that was inserted anew', async () => {
    const encrypted = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }
    await using database = await open()
    const store = await database.open()
    await store.setSchema(todoSchema)
    const author = new OperationAuthor('phone')
    await appendAll(store, [
      author.insert('a', { title: 'one' }),
      author.update('a', encrypted),
      author.insert('a', { title: 'two' }),
      author.insert('b', { title: 'one' }),
      author.insert('b', { title: 'two' }),
      author.insert('c', { title: 'one' }),
      author.update('c', encrypted),
    ])
    await store.close()
    expect(await damageIn(database)).toEqual([])

    await database.run(`UPDATE _kora_records SET state = replace(state, '"i":', '"f":2,"i":')`)
    await database.run(`UPDATE _kora_records SET state = replace(state, '"f":18', '"f":2')`)

    expect(await damageIn(database)).toEqual(['record todos/b: its state is not that of the replayed log'])
  })

  test.each([
    {
      what: 'a changed cell',
      sql: `UPDATE todos SET title = 'other' WHERE id = 'a'`,
      place: /^record todos\/a: column "title"/,
    },
    {
      what: 'a missing row of a table',
      sql: `DELETE FROM todos WHERE id = 'b'`,
      place: /^record todos\/b: its table has no row/,
    },
    {
      what: 'a row of a table that nobody wrote',
      sql: `INSERT INTO todos (id, title, _created_at, _updated_at, _deleted) VALUES ('z', 'x', 0, 0, 0)`,
      place: /^table todos: 1 of its rows/,
    },
    {
      what: 'a changed state',
      sql: `UPDATE _kora_records SET state = replace(state, 'title of b', 'title of c')`,
      place: /^record todos\/b: its state is not that/,
    },
    {
      what: 'an operation under another node',
      sql: `UPDATE _kora_operations SET sequence_number = 77 WHERE seq = 4`,
      place: /^row 4 of the log: /,
    },
    {
      what: 'an operation of another record',
      sql: `UPDATE _kora_operations SET record = (SELECT min(record) FROM _kora_operations) WHERE seq = 4`,
      place: /^row 4 of the log: /,
    },
    {
      what: 'an operation under another time',
      sql: 'UPDATE _kora_operations SET wall_time = wall_time + 1 WHERE seq = 4',
      place: /^row 4 of the log: its time is not that/,
    },
    {
      what: 'a record under another id',
      sql: `UPDATE _kora_records SET record_id = 'z' WHERE record_id = 'b'`,
      place: /^record todos\/z: the operations behind it are of record todos\/b$/,
    },
    {
      what: 'a record whose collection has no name',
      sql: 'UPDATE _kora_records SET collection = 77 WHERE id = (SELECT min(id) FROM _kora_records)',
      place: /^record 1 of _kora_records: its collection or its id cannot be read/,
    },
    {
      what: 'a tracked field under another name',
      sql: `UPDATE _kora_tracked SET field = 'userIe'`,
      place: /^row 1 of _kora_tracked: as it is, "todos.userIe": its index holds row \d+ of the log/,
    },
    {
      what: 'an operation without a record',
      sql: `DELETE FROM _kora_records WHERE id = (SELECT record FROM _kora_operations WHERE seq = 4)`,
      place: /^row 4 of the log: its record is missing$/,
    },
    {
      what: 'a missing operation',
      sql: 'DELETE FROM _kora_operations WHERE seq = 3',
      place: /^the log: \d+ operations stored, \d+ of them found/,
    },
    {
      what: 'a gap in the index of scopes',
      sql: 'DELETE FROM _kora_scope WHERE seq = 5',
      place: /^row 5 of the log: an index, of scopes or of nodes/,
    },
    {
      what: 'a version vector that claims too much',
      sql: `UPDATE _kora_nodes SET max_sequence = 99 WHERE node_id = 'phone'`,
      place: /^node phone: the version vector says 99/,
    },
  ])('names $what', async ({ sql, place }) => {
    await using database = await open()
    await fill(database)

    await database.run(sql)

    const damage = await damageIn(database)
    expect(damage.filter((text) => place.test(text))).toHaveLength(1)
  })
})

describe.each([
  { name: 'SQLite', open: sqliteDatabase },
  { name: 'PostgreSQL', open: postgresDatabase },
])('a damaged store in $name', ({ open }) => {
  test.each([
    {
      what: 'a schema that is no JSON',
      sql: `UPDATE _kora_meta SET value = '{' || value WHERE key = 'schema'`,
    },
    {
      what: 'a schema with a field of another name',
      sql: `UPDATE _kora_meta SET value = replace(value, '"count"', '"bount"') WHERE key = 'schema'`,
    },
    {
      what: 'a schema without a checksum that breaks the rules',
      sql: `UPDATE _kora_meta SET value = '{"version":1,"collections":{}}' WHERE key = 'schema'`,
      message:
        /^"schema" in _kora_meta cannot be read by this release, or is damaged \(.+\)\. Restore a backup\.$/s,
    },
  ])('is not opened with $what', async ({ sql, message = DAMAGED_SCHEMA }) => {
    await using database = await open()
    await fill(database)

    await database.run(sql)

    await expect(database.open()).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringMatching(message),
    })
  })

  test.each([
    { what: 'text that is no JSON', value: '[{"collection"' },
    { what: 'a list of something else', value: '[{"collection":1}]' },
  ])('says what is damaged where a change of its schema was noted: $what', async ({ value }) => {
    await using database = await open()
    await fill(database)

    await database.run(`INSERT INTO _kora_meta (key, value) VALUES ('schema_change', '${value}')`)

    await using store = await opened(database)
    await expect(store.setSchema(todoSchema)).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining('"schema_change" in _kora_meta is damaged'),
    })
  })

  test('is not opened with a clock that cannot be read', async () => {
    await using database = await open()
    await fill(database)

    await database.run(`DELETE FROM _kora_meta WHERE key = 'server_clock'`)
    await database.run(`INSERT INTO _kora_meta (key, value) VALUES ('server_clock', '17500x')`)

    await expect(database.open()).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: '"server_clock" in _kora_meta is damaged. Restore a backup.',
    })
  })

  test.each(['_kora_nodes', '_kora_collections'])('serves nothing without the names of %s', async (table) => {
    await using database = await open()
    await fill(database)
    await database.run('DELETE FROM _kora_tracked') // which names a collection, too

    await database.run(`DELETE FROM ${table}`)

    await using store = await opened(database)
    await expect(store.readLog(0, 100, 1e6)).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining(`No name is stored in ${table} under the number`),
    })
  })

  test('has a state that cannot be read folded again from the log', async () => {
    await using database = await open()
    await fill(database)
    await database.run(`UPDATE _kora_records SET state = '{' || state`)

    await using store = await opened(database)
    await store.setSchema(todoSchema)
    const { deliverySequence } = await lastOf(store)
    await store.rebuildCollections()

    expect(await damageIn(database)).toEqual([])
    expect((await lastOf(store)).deliverySequence).toBe(deliverySequence) // nobody gains a record once more
  })

  test.each([
    { what: 'nothing of an operation', sql: `UPDATE _kora_operations SET wire_json = '{}' WHERE seq = 4` },
    { what: 'no JSON', sql: `UPDATE _kora_operations SET wire_json = '{' || wire_json WHERE seq = 4` },
  ])('is rebuilt but for the record of which a row of the log has $what, and serves on', async ({ sql }) => {
    await using database = await open()
    await fill(database)
    await database.run(sql)
    await database.run(`UPDATE todos SET title = 'damaged'`)

    const store = await database.open()
    await store.setSchema(todoSchema)
    await expect(store.rebuildCollections()).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringMatching(/^1 record stayed as before, .+ the first being todos\/b; all others /),
    })
    await store.close()

    const damage = await damageIn(database)
    expect(damage.map((text) => text.split(':')[0])).toEqual(['row 4 of the log', 'record todos/b'])
    await using again = await opened(database)
    await again.setSchema(todoSchema) // as the next start does
    const titles = (await again.queryCollection('todos', { includeDeleted: true })).map(({ title }) => title)
    expect(titles).toEqual(['title of a', 'title of b', 'title of c'])
  })

  test('starts with a changed schema, although the log of a record is damaged that it folds anew', async () => {
    await using database = await open()
    await fill(database)
    await database.run(`UPDATE _kora_operations SET wire_json = '{}' WHERE seq = 4`)
    const { todos, ...others } = todoSchema.collections as Record<'todos' | 'projects', CollectionDefinition>
    const resolve = { title: () => 'merged' }
    const { collections } = defineSchema({
      version: 2,
      collections: { todos: { fields: { title: t.string() }, resolve } },
    })
    const changed = { ...todos, resolvers: collections.todos?.resolvers ?? {} }

    await using store = await opened(database)
    await store.setSchema({
      ...todoSchema,
      version: 2,
      collections: { ...others, todos: changed },
    } as SchemaDefinition)

    expect(await store.findRecord('todos', 'b')).toMatchObject({ title: 'title of b', done: true })
  })

  test('tells of a table that is not filled, and was not compared', async () => {
    await using database = await open()
    await fill(database)
    const work = { collection: 'todos', phase: 'rebuild', replays: true, doneThrough: 0, recordsDone: 0 }
    const pending = JSON.stringify([{ ...work, recordsTotal: null }])

    await database.run(`INSERT INTO _kora_meta (key, value) VALUES ('schema_change', '${pending}')`)

    await using store = await opened(database)
    const damage: Damage[] = []
    await store.findDamage?.({ onDamage: (found) => damage.push(found) })
    expect(damage.filter(({ place }) => place === 'table todos')).toEqual([
      { place: 'table todos', problem: expect.stringMatching(/^it is not filled, /), isCertain: false },
    ])
  })

  test('names a tracked field also after the server has tracked it anew', async () => {
    await using database = await open()
    await fill(database)
    await database.run(`UPDATE _kora_tracked SET field = 'userIe'`)

    const store = await database.open()
    await store.trackScopeField('todos', 'userId', { isGranted: true })
    await store.close()

    expect((await damageIn(database)).map((text) => text.split(':')[0])).toEqual(['row 1 of _kora_tracked'])
  })
})

describe('an SQLite store of which a tracked field is damaged', () => {
  test.each([
    {
      what: 'its name',
      sql: `UPDATE _kora_tracked SET field = x'00'`,
      message: 'Row 1 of _kora_tracked is damaged. Restore a backup.',
    },
    {
      what: 'the name of its collection',
      sql: 'DELETE FROM _kora_collections',
      message:
        'Row 1 of _kora_tracked is damaged, or _kora_collections: no name is stored there under the number 1. Restore a backup.',
    },
  ])('is not opened without $what, and says what helps then', async ({ sql, message }) => {
    await using database = await sqliteDatabase()
    await fill(database)

    await database.run(sql)

    await expect(database.open()).rejects.toMatchObject({ code: 'STORE_CORRUPT', message })
  })

  test('is not used as it was before, however often it is asked, until the field can be read', async () => {
    await using database = await sqliteDatabase()
    await fill(database)
    await using store = await opened(database)

    await database.run(`UPDATE _kora_tracked SET field = x'00'`)
    const author = new OperationAuthor('tablet')
    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(appendAll(store, [author.insert('d', { title: 'd', userId: 'user-d' })])).rejects.toThrow(
        'Row 1 of _kora_tracked is damaged',
      )
    }

    await database.run(`UPDATE _kora_tracked SET field = 'userId'`)
    expect(await appendAll(store, [author.insert('e', { title: 'e', userId: 'user-e' })])).toEqual([
      'applied',
    ])
  })
})

describe('a damaged row of an SQLite log', () => {
  const DAMAGE = `UPDATE _kora_operations SET wire_json = replace(wire_json, 'title of b', 'title of c') WHERE seq = 3`

  test('is refused to whoever asks for it, and named', async () => {
    await using database = await sqliteDatabase()
    await fill(database)

    await database.run(DAMAGE)

    const store = await database.open()
    const corrupt = expect.objectContaining({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining('Row 3'),
    })
    await expect(store.readLog(0, 100, 1e6)).rejects.toEqual(corrupt)
    await expect(store.getOperationsAfterDelivery(0, 100)).rejects.toEqual(corrupt)
    await expect(store.getOperationRange('phone', 1, 9)).rejects.toEqual(corrupt)
    await expect(store.readOperations({}, { after: 0, limit: 100, maxBytes: 1e6 })).rejects.toEqual(corrupt)
    await expect(store.exportBackup()).rejects.toEqual(corrupt)
    expect((await store.readLog(3, 100, 1e6)).entries.length).toBeGreaterThan(3) // the rest is
    await store.close()
    expect(await damageIn(database)).toContain('row 3 of the log: its checksum does not fit what it holds')
  })
})

test.each([
  {
    what: 'an id that is not that of its operation',
    sql: `UPDATE _kora_operations SET id = sha256('x') WHERE seq = 3`,
    damage: 'row 3 of the log: it is not found by the id of the operation it holds',
  },
  {
    what: 'a row whose record is one of another collection',
    sql: `UPDATE _kora_records SET collection = (SELECT id FROM _kora_collections WHERE name = 'projects')
      WHERE id = (SELECT record FROM _kora_operations WHERE seq = 3)`,
    damage: 'row 3 of the log: its record is missing',
  },
  {
    what: 'a row that is no operation',
    sql: `UPDATE _kora_operations SET wire_json = replace(wire_json, '"data":', '"data:') WHERE seq = 3`,
    damage: 'row 3 of the log: what it holds is not an operation',
  },
  {
    what: 'a row whose record is gone',
    sql: 'DELETE FROM _kora_records WHERE id = (SELECT record FROM _kora_operations WHERE seq = 3)',
    damage: 'row 3 of the log: its record is missing',
  },
])('names $what in PostgreSQL', async ({ sql, damage }) => {
  await using database = await postgresDatabase()
  await fill(database)

  await database.run(sql)

  expect(await damageIn(database)).toContain(damage)
})

describe('a damaged row of a PostgreSQL log is refused to whoever asks for it', () => {
  test.each([
    { what: 'without a record id', change: `wire_json = replace(wire_json, '"recordId":"', '"recordIe":"')` },
    {
      what: 'that ends in its record id',
      change: `wire_json = split_part(wire_json, '"recordId":"', 1) || '"recordId":"b'`,
    },
    { what: 'whose scopes cannot be read', change: `scope = '{'` },
  ])('as a page: $what', async ({ change }) => {
    await using database = await postgresDatabase()
    await fill(database)

    await database.run(`UPDATE _kora_operations SET ${change} WHERE seq = 3`)

    await using store = await opened(database)
    await expect(store.readLog(0, 100, 1e6)).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining('Row 3'),
    })
  })

  test('as an operation', async () => {
    await using database = await postgresDatabase()
    await fill(database)

    await database.run(
      `UPDATE _kora_operations SET wire_json = replace(wire_json, '"data":', '"data:') WHERE seq = 3`,
    )

    await using store = await opened(database)
    const corrupt = expect.objectContaining({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining('Row 3'),
    })
    await expect(store.getOperationsAfterDelivery(0, 100)).rejects.toEqual(corrupt)
    await expect(store.getOperationRange('phone', 1, 9)).rejects.toEqual(corrupt)
  })
})

test('names a row of an SQLite log that holds nothing, and goes on', async () => {
  await using database = await sqliteDatabase()
  await fill(database)

  await database.run(`
    ALTER TABLE _kora_operations RENAME COLUMN wire_json TO was;
    ALTER TABLE _kora_operations ADD COLUMN wire_json TEXT;
    UPDATE _kora_operations SET wire_json = was WHERE seq NOT IN (3, 4)`)

  const damage = await damageIn(database)
  expect(damage).toContain('row 3 of the log: what it holds cannot be read')
  expect(damage).toContain('row 4 of the log: what it holds cannot be read')
  expect(damage).toContain('record todos/b: a row of its history is damaged')
})

test.each([
  {
    sql: 'UPDATE _kora_operations SET scope = CAST(scope AS BLOB) WHERE seq = 3',
    damage: 'row 3 of the log: its checksum does not fit what it holds',
  },
  {
    sql: 'UPDATE _kora_operations SET wire_json = CAST(wire_json AS BLOB) WHERE seq = 3',
    damage: 'row 3 of the log: its checksum does not fit what it holds',
  },
  {
    sql: `UPDATE _kora_records SET state = CAST(state AS BLOB) WHERE record_id = 'b'`,
    damage: 'record todos/b: its state cannot be read',
  },
])('names bytes where a text of an SQLite store was: $sql', async ({ sql, damage }) => {
  await using database = await sqliteDatabase()
  await fill(database)

  await database.run(sql)

  expect(await damageIn(database)).toContain(damage)
})

test('names a row of an SQLite table that cannot be read, and goes on', async () => {
  await using database = await sqliteDatabase()
  await fill(database)

  await database.run(`
    UPDATE todos SET tags = '["x"' WHERE id = 'a';
    UPDATE todos SET count = x'' WHERE id = 'b';
    UPDATE todos SET _deleted = x'' WHERE id = 'c'`)

  expect(await damageIn(database)).toEqual([
    'record todos/a: its row in the table cannot be read',
    'record todos/b: its row in the table cannot be read',
    'record todos/c: its row in the table cannot be read',
  ])
})

test.each(['operation_count', 'delivery_base'])(
  'says that the number "%s" of an SQLite store is damaged',
  async (key) => {
    await using database = await sqliteDatabase()
    await fill(database)

    await database.run(
      `INSERT INTO _kora_meta (key, value) VALUES ('${key}', '1x') ON CONFLICT DO UPDATE SET value = '1x'`,
    )

    await using store = await opened(database)
    const author = new OperationAuthor('tablet')
    await expect(appendAll(store, [author.insert('d', { title: 'x' })])).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining(`"${key}" in _kora_meta is damaged`),
    })
  },
)
