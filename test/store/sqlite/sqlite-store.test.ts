import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { createView } from '../../../src/core/view.ts'
import { columnsOf } from '../../../src/store/materialize/columns.ts'
import { builderFor } from '../../../src/store/materialize/ddl.ts'
import { buildSelect } from '../../../src/store/query/build-select.ts'
import { resolveQuery } from '../../../src/store/query/resolve-query.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { openDatabase } from '../../../src/store/sqlite/open-database.ts'
import { RecordTable } from '../../../src/store/sqlite/record-table.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { CollectionQueryOptions, SchemaProgress } from '../../../src/store/store.ts'
import { canMount, SmallDisk } from '../../support/disk/small-disk.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'
import { todoSchema } from '../../support/todo-schema.ts'

test('keeps everything over a restart, and does no work when the schema is the same', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const author = new OperationAuthor('a')
  const first = createSqliteServerStore({ filename })
  await first.setSchema(todoSchema)
  await appendAll(first, [
    author.insert(recordIdOf('r1'), { title: 'x', userId: 'u1' }),
    author.insert('not a uuid', { title: 'y', userId: 'u1' }),
  ])
  const log = (await first.readLog(0, 10, 1e9)).entries
  const nodeId = first.getNodeId()
  await first.close()

  const second = createSqliteServerStore({ filename })
  expect(second.getNodeId()).toBe(nodeId)
  expect(second.getSchema()).toEqual(todoSchema)
  expect((await second.readLog(0, 10, 1e9)).entries).toEqual(log)
  expect(await second.queryCollection('todos')).toHaveLength(2)
  const progress: SchemaProgress[] = []
  await second.setSchema(todoSchema, { onProgress: (step) => progress.push(step) })
  expect(progress).toEqual([])
  expect(await appendAll(second, [author.update('not a uuid', { title: 'z' })])).toEqual(['applied'])
  expect(await second.findRecord('todos', 'not a uuid')).toMatchObject({ title: 'z', userId: 'u1' })
  await second.close()
})

test.each([
  ['missing', undefined],
  ['null', null],
  ['""', ''],
  ['5', 5],
  ['an instance of URL', new URL('file:///app.db')],
])('is opened in no file where the name of it is %s', (shown, given) => {
  const filename = given as string // of a program without types
  const message = `The filename of the SQLite store is ${shown}. Give the path of a file, or ":memory:".`
  const error = expect.objectContaining({ code: 'INVALID_ARGUMENT', message })

  expect(() => createSqliteServerStore({ filename })).toThrow(error)
  expect(() => createSqliteServerStore({ filename, readOnly: 'planning' })).toThrow(error)
})

test('is opened in no file where there are no options', () => {
  const options = undefined as unknown as { filename: string } // of a program without types

  expect(() => createSqliteServerStore(options)).toThrow(
    expect.objectContaining({ name: 'StoreError', code: 'INVALID_ARGUMENT' }),
  )
})

test.each(['"FULL"', 'null', 'true'])('is not opened with a durability that there is not, as %s', (shown) => {
  const durability = JSON.parse(shown) as 'full' // of a program without types
  const message = `The durability of the SQLite store is ${shown}. Give "full" or "normal".`

  expect(() => createSqliteServerStore({ filename: ':memory:', durability })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message }),
  )
})

test('commits durably unless told otherwise', () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  for (const durability of ['full', 'normal'] as const) {
    const store = createSqliteServerStore({ filename, durability })
    void store.close()
  }
  expect(existsSync(filename)).toBe(true)
})

test('finds records by the index that fits, and tombstones by theirs', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  await store.close()
  const collection = todoSchema.collections.todos
  if (collection === undefined) throw new Error('The schema has todos')
  const columns = columnsOf(collection, 'sqlite')
  const table = {
    name: 'todos',
    columns,
    columnsByField: new Map(columns.map((column) => [column.field, column])),
  }
  const db = openDatabase({ filename, durability: 'normal', isReadOnly: true })
  const planOf = (options: CollectionQueryOptions): string => {
    const query = buildSelect(builderFor('sqlite'), table, resolveQuery(collection, options))
    const rows = db.prepare(`EXPLAIN QUERY PLAN ${query?.sql}`).all(...(query?.parameters ?? []))
    return JSON.stringify(rows)
  }

  expect(planOf({ limit: 50 })).toMatch(/SCAN todos USING INDEX sqlite_autoindex_todos_1/)
  expect(planOf({ where: { userId: 'u' }, limit: 50 })).toMatch(
    /SEARCH todos USING INDEX _kora_ix_todos_userId/,
  )
  const after = { id: 'r', userId: 'u', _created_at: 1, _updated_at: 1 }
  expect(planOf({ after, limit: 50 })).toMatch(/SEARCH todos USING INDEX sqlite_autoindex_todos_1 \(id>/)
  expect(planOf({ orderBy: 'userId', after, limit: 50 })).toMatch(
    /SEARCH todos USING INDEX _kora_ix_todos_userId_\w+ \(userId>/,
  )
  const tombstones = db.prepare('EXPLAIN QUERY PLAN SELECT count(*) FROM todos WHERE _deleted <> 0').all()
  expect(JSON.stringify(tombstones)).toMatch(/COVERING INDEX _kora_ix_todos__deleted/)
  expect(planOf({ limit: 50 }) + planOf({ where: { title: 'x' } })).not.toMatch(/_deleted=|TEMP B-TREE/)
  db.close()
})

test('keeps an in-memory database to itself', async () => {
  const [one, two] = [
    createSqliteServerStore({ filename: ':memory:' }),
    createSqliteServerStore({ filename: ':memory:' }),
  ]
  await appendAll(one, [new OperationAuthor('a').insert('r1', { title: 'x' })])

  expect(await one.getOperationCount()).toBe(1)
  expect(await two.getOperationCount()).toBe(0)
  await one.close()
  await two.close()
})

test('answers queries beside a process that writes, and writes nothing then', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const author = new OperationAuthor('a')
  const writer = createSqliteServerStore({ filename })
  await writer.setSchema(todoSchema)
  const reader = createSqliteServerStore({ filename, readOnly: true })

  await appendAll(writer, [author.insert('r1', { title: 'x', userId: 'u1' })])

  expect(await reader.queryCollection('todos')).toHaveLength(1)
  expect(await reader.getOperationCount()).toBe(1)
  await expect(reader.append([])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(reader.setSchema(todoSchema)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await reader.checkHealth()
  await reader.close()
  await writer.close()
})

test('lets two processes write the same file and tells each of the other', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const runtime = simulatedRuntime()
  const one = createSqliteServerStore({ filename, runtime })
  const two = createSqliteServerStore({ filename })
  const told: (number | undefined)[] = []
  const unsubscribe = one.onCommit((deliverySequence) => told.push(deliverySequence))
  const [a, b] = [new OperationAuthor('a'), new OperationAuthor('b')]

  await appendAll(one, [a.insert('r1', { title: 'x', userId: 'u1' })])
  await two.trackScopeField('todos', 'userId', { isGranted: true })
  await appendAll(two, [b.insert('r2', { title: 'y', userId: 'u1' })])
  await appendAll(one, [a.insert('r3', { title: 'z', userId: 'u1' }), b.update('r2', { title: 'y2' })])
  await runtime.advance(3000)

  const view = createView({ todos: { userId: 'u1' } })
  const page = await one.readDelivery({ after: 0, view, limit: 10, maxBytes: 1e9 })
  expect(page.entries.map((entry) => entry.deliverySequence)).toEqual([1, 2, 3, 4])
  expect(told).toEqual([1, 4, undefined]) // its own two, and the other's one
  unsubscribe()
  await one.close()
  await two.close()
})

test('waits for another program’s lock, then says so', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const runtime = simulatedRuntime()
  const store = createSqliteServerStore({ filename, runtime })
  const other = new (loadSqliteDriver())(filename)
  const author = new OperationAuthor('a')
  other.exec('BEGIN IMMEDIATE')

  const first = appendAll(store, [author.insert('r1', { title: 'x' })])
  const second = appendAll(store, [author.insert('r2', { title: 'y' })])
  expect(await store.getOperationCount()).toBe(0) // reads go on
  await runtime.advance(200)
  other.exec('COMMIT')
  await runtime.advance(200)
  expect(await first).toEqual(['applied'])
  expect(await second).toEqual(['applied'])
  expect((await store.readLog(0, 10, 1e9)).entries.map((entry) => entry.recordId)).toEqual(['r1', 'r2'])

  other.exec('BEGIN IMMEDIATE')
  const third = appendAll(store, [author.insert('r3', { title: 'z' })])
  const refused = expect(third).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await settle()
  await runtime.advance(11_000)
  await refused
  other.exec('ROLLBACK')
  expect(await appendAll(store, [author.insert('r4', { title: 'z' })])).toEqual(['applied'])
  other.close()
  await store.close()
})

test('goes on with an interrupted change of the schema, and shows no half-filled table', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const author = new OperationAuthor('a')
  const first = createSqliteServerStore({ filename })
  const records = Array.from({ length: 700 }, (_, index) =>
    author.insert(`r${index}`, { title: 't', userId: 'u' }),
  )
  await appendAll(first, records)
  const interrupted = first.setSchema(todoSchema, {
    onProgress: ({ recordsDone }) => {
      if (recordsDone >= 400) void first.close()
    },
  })
  await expect(interrupted).rejects.toMatchObject({ code: 'STORE_CLOSED' })

  const reader = createSqliteServerStore({ filename, readOnly: true })
  await expect(reader.queryCollection('todos')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await reader.close()
  const second = createSqliteServerStore({ filename })
  const progress: number[] = []
  expect(await second.planSchema(todoSchema)).toMatchObject({ isUpToDate: false })
  await second.setSchema(todoSchema, { onProgress: ({ recordsDone }) => progress.push(recordsDone) })

  expect(progress[0]).toBe(600)
  expect(await second.countCollection('todos')).toBe(700)
  await second.close()
})

test('repairs tables that somebody else has changed', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('a')
  await appendAll(store, [
    author.insert('r1', { title: 'x', userId: 'u' }),
    author.insert('r2', { title: 'y', userId: 'u' }),
  ])
  const before = await store.queryCollection('todos')
  const other = new (loadSqliteDriver())(filename)
  other.exec(`UPDATE todos SET title = 'wrong'; DELETE FROM todos WHERE id = 'r2';
    INSERT INTO todos (id, title) VALUES ('stray', 'x')`)
  other.close()

  await store.rebuildCollections()

  expect(await store.queryCollection('todos', { includeDeleted: true })).toEqual(
    before.map((record) => ({ ...record, _deleted: false })),
  )
  await store.close()
})

test('works with collections that are called as functions of SQLite, and repairs one called excluded', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const author = new OperationAuthor('a')
  const collections = ['json_each', 'pragma_table_info', 'excluded']
  const fields = { email: t.string() }
  const first = createSqliteServerStore({ filename })
  await first.setSchema(
    defineSchema({
      version: 1,
      collections: Object.fromEntries(collections.map((name) => [name, { fields }])),
    }),
  )
  await appendAll(
    first,
    collections.map((collection) => author.insert('r1', { email: 'x' }, { collection })),
  )
  await first.close()
  const db = new (loadSqliteDriver())(filename)
  db.exec(`update "excluded" set email = 'what it was first'`)
  db.close()

  const second = createSqliteServerStore({ filename })
  await second.rebuildCollections(['excluded'])

  expect(await second.findRecord('excluded', 'r1')).toMatchObject({ email: 'x' })
  expect(await second.readOperations({ nodeId: 'a' }, { after: 0, limit: 10, maxBytes: 1e9 })).toHaveLength(3)
  await second.close()
})

test('refuses files that it cannot use, with the reason', async () => {
  using directory = temporaryDirectory()
  const at = (name: string): string => join(directory.path, name)
  writeFileSync(at('text.db'), 'This is a text, and it is long enough to be read as a header.'.repeat(20))
  const newer = createSqliteServerStore({ filename: at('newer.db') })
  await newer.close()
  const other = new (loadSqliteDriver())(at('newer.db'))
  other.exec("UPDATE _kora_meta SET value = '99' WHERE key = 'layout'")
  other.close()

  const attempt = (filename: string, readOnly: boolean | 'planning' = false) => {
    try {
      void createSqliteServerStore({ filename, readOnly }).close()
      return 'opened'
    } catch (error) {
      return `${(error as { code: string }).code}: ${(error as Error).message.replace(directory.path, '')}`
    }
  }

  expect(attempt(at('text.db'))).toMatch(
    /^STORE_OPEN_FAILED: Cannot open \/text.db: it is not an SQLite database/,
  )
  expect(attempt(at('newer.db'))).toMatch(
    /^STORE_NEWER: \/newer.db has layout 99; this release reads up to 6/,
  )
  expect(attempt(at('missing/store.db'))).toMatch(/^STORE_OPEN_FAILED: .*missing does not exist\. Create it/)
  expect(attempt(at('absent.db'), true)).toMatch(/^STORE_OPEN_FAILED: .*does not exist/)
  for (const readOnly of [false, true, 'planning'] as const) {
    expect(attempt(directory.path, readOnly)).toMatch(
      /^STORE_OPEN_FAILED: .*: it is a folder\. Name a file in it\./,
    )
  }
})

test('uses the indexes that its speed rests on', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  await createSqliteServerStore({ filename }).close()
  const db = new (loadSqliteDriver())(filename)
  const planOf = (sql: string): string =>
    (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all() as { detail: string }[])
      .map(({ detail }) => detail)
      .join('; ')

  expect(planOf('SELECT seq FROM _kora_operation_ids WHERE id_key = 1 ORDER BY seq DESC')).toBe(
    'SEARCH _kora_operation_ids USING PRIMARY KEY (id_key=?)',
  )
  expect(planOf('SELECT 1 FROM _kora_operations WHERE record = 1 AND record <> seq ORDER BY seq')).toBe(
    'SEARCH _kora_operations USING COVERING INDEX _kora_operations_record (record=?)',
  )
  expect(planOf('SELECT seq FROM _kora_scope WHERE field = 1 AND key = 2 AND seq > 3 ORDER BY seq')).toBe(
    'SEARCH _kora_scope USING PRIMARY KEY (field=? AND key=? AND seq>?)',
  )
  expect(
    planOf('SELECT seq FROM _kora_scope WHERE field = 1 AND key = 2 AND seq <= 3 ORDER BY seq DESC'),
  ).toBe('SEARCH _kora_scope USING PRIMARY KEY (field=? AND key=? AND seq<?)')
  db.close()
})

test('can be closed and read only where the directory is read only', () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  void createSqliteServerStore({ filename }).close()
  chmodSync(filename, 0o444)
  // Root may write whatever the mode says; what counts is that nothing but a StoreError comes out.
  const script = `import { createSqliteServerStore } from './src/store/sqlite/sqlite-store.ts'
    try { await createSqliteServerStore({ filename: ${JSON.stringify(filename)} }).close() }
    catch (error) { if (error.name !== 'StoreError') throw error }`
  const { status, stderr } = spawnSync('npx', ['tsx', '--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  expect([status, stderr.includes('Error')]).toEqual([0, false])
})

test.runIf(canMount('a store on a read-only disk'))(
  'is not opened for writing where it can only be read, as after a crash',
  async () => {
    using directory = temporaryDirectory()
    using disk = new SmallDisk(8)
    const filename = join(directory.path, 'store.db')
    const copy = join(disk.path, 'store.db')
    const store = createSqliteServerStore({ filename })
    for (const suffix of ['', '-wal', '-shm']) copyFileSync(`${filename}${suffix}`, `${copy}${suffix}`)
    await store.close()
    disk.isReadOnly = true

    expect(() => createSqliteServerStore({ filename: copy })).toThrow(
      expect.objectContaining({
        code: 'STORE_OPEN_FAILED',
        message: expect.stringContaining('read-only file system'),
      }),
    )
  },
)

test('is opened while another program holds its write lock', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const first = openDatabase({ filename, durability: 'normal', isReadOnly: false })
  first.exec('BEGIN IMMEDIATE')

  const second = openDatabase({ filename, durability: 'normal', isReadOnly: false })

  expect(second.pragma('journal_mode', { simple: true })).toBe('wal')
  second.close()
  first.close()
})

test('opens beside a process that writes just then', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  await createSqliteServerStore({ filename }).close()
  const writer = openDatabase({ filename, durability: 'normal', isReadOnly: false })
  writer.exec('BEGIN IMMEDIATE')

  const store = createSqliteServerStore({ filename })

  expect(await store.getOperationCount()).toBe(0)
  writer.exec('ROLLBACK')
  writer.close()
  await store.close()
})

test('operations go on while it looks which blobs are referred to', async () => {
  const store = createSqliteServerStore({ filename: ':memory:' })
  const author = new OperationAuthor('a')
  const hashes = Array.from({ length: 1000 }, (_, index) => index.toString(16).padStart(64, '0'))
  await appendAll(
    store,
    hashes.map((hash, index) => author.insert(`r${index}`, { file: { hash, size: 3 } })),
  )
  let [turns, isReading] = [0, true]
  const countTurns = () => {
    turns++
    if (isReading) setImmediate(countTurns)
  }
  setImmediate(countTurns)

  const live = await store.getLiveBlobRefs()
  isReading = false

  expect(turns).toBeGreaterThanOrEqual(5)
  expect(live).toEqual(new Set(hashes))
  await store.close()
})

test('a record is read once for all the blobs that it has ever referred to', async () => {
  const store = createSqliteServerStore({ filename: ':memory:' })
  const author = new OperationAuthor('a')
  const file = (index: number) => ({ hash: createHash('sha256').update(`${index}`).digest('hex'), size: 1 })
  const insert = author.insert('r1', { text: 'x'.repeat(10_000) })
  const updates = Array.from({ length: 1000 }, (_, index) => author.update('r1', { file: file(index) }))
  await appendAll(store, [insert, ...updates])
  const read = vi.spyOn(RecordTable.prototype, 'stateOf')

  expect(await store.getLiveBlobRefs()).toEqual(new Set([file(999).hash]))

  expect(read).toHaveBeenCalledTimes(1)
  read.mockRestore()
  await store.close()
})

test('operations go on, too, while it looks at large records', async () => {
  const runtime = simulatedRuntime()
  const pause = vi.spyOn(runtime, 'defer')
  const store = createSqliteServerStore({ filename: ':memory:', runtime })
  const author = new OperationAuthor('a')
  const hashes = Array.from({ length: 100 }, (_, index) => index.toString(16).padStart(64, '0'))
  const text = 'x'.repeat(100_000)
  await appendAll(
    store,
    hashes.map((hash, index) => author.insert(`r${index}`, { text, file: { hash, size: 3 } })),
  )
  pause.mockClear()

  expect(await store.getLiveBlobRefs()).toEqual(new Set(hashes))

  expect(pause.mock.calls.length).toBeGreaterThanOrEqual(9)
  await store.close()
})
