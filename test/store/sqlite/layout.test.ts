import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import type { CompactionRules } from '../../../src/store/compaction/compaction.ts'
import type { Damage } from '../../../src/store/damage/damage.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore, type SqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const uuid = (last: number): string => `01980000-0000-7000-8000-00000000000${last}`
const LATER = 1_800_000_000_000

function writeLayout1(filename: string): void {
  const db = new (loadSqliteDriver())(filename)
  db.exec(readFileSync(new URL('files/layout-1.sql', import.meta.url), 'utf8'))
  db.close()
}

function layoutOf(filename: string): string {
  return (
    query<{ value: string }>(filename, "SELECT value FROM _kora_meta WHERE key = 'layout'")[0]?.value ?? ''
  )
}

/** As layout 5 has left the file. */
function takeBackFrom6(filename: string): void {
  execute(
    filename,
    'ALTER TABLE _kora_blob_uploads DROP COLUMN sent_at',
    'ALTER TABLE _kora_blob_holders DROP COLUMN sent_at',
    "UPDATE _kora_meta SET value = '5' WHERE key = 'layout'",
  )
}

/** What creates the indexes of the internal tables. */
function indexesOf(filename: string): string[] {
  const sql =
    "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE '_kora%' AND sql <> '' ORDER BY 1"
  return query<{ sql: string }>(filename, sql).map((row) => row.sql)
}

function newStore(directory: string): string {
  const filename = join(directory, 'new.db')
  void createSqliteServerStore({ filename }).close()
  return filename
}

function query<Row>(filename: string, sql: string): Row[] {
  const db = new (loadSqliteDriver())(filename)
  const rows = db.prepare<[], Row>(sql).all()
  db.close()
  return rows
}

function execute(filename: string, ...statements: string[]): void {
  const db = new (loadSqliteDriver())(filename)
  for (const statement of statements) db.exec(statement)
  db.close()
}

async function damageIn(store: SqliteServerStore): Promise<Damage[]> {
  const damage: Damage[] = []
  await store.findDamage({ onDamage: (found) => damage.push(found) })
  return damage
}

async function readOfNode(store: SqliteServerStore): Promise<number[]> {
  const operations = await store.getOperationRange('device-a', 2, 7)
  const search = { nodeId: 'device-a' }
  const found = await store.readOperations(search, { after: 6, limit: 2, maxBytes: 1e6 })
  expect(found.map(({ deliverySequence }) => deliverySequence)).toEqual([7, 10])
  return operations.map(({ sequenceNumber }) => sequenceNumber)
}

async function historyOf(store: SqliteServerStore, recordId: string): Promise<string[]> {
  const found = await store.readOperations({ recordId }, { after: 0, limit: 10, maxBytes: 1e6 })
  const tail = await store.findOperationTail({ recordId }, 1)
  const last = found.at(-1)?.deliverySequence
  expect(tail).toBe(last === undefined ? await store.getMaxDeliverySequence() : last - 1)
  return found.map(({ deliverySequence, wireJson }) => `${deliverySequence} ${JSON.parse(wireJson).type}`)
}

test('a store of layout 1 is brought up to date, and goes on', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  writeLayout1(filename)
  const store = createSqliteServerStore({ filename })
  const schema = store.getSchema() as SchemaDefinition
  expect(await damageIn(store)).toEqual([])
  expect(await historyOf(store, uuid(2))).toEqual(['2 insert', '3 update'])
  expect(await historyOf(store, 'by name')).toEqual(['4 insert', '5 delete'])
  expect(await readOfNode(store)).toEqual([2, 3, 4, 5, 6, 7])

  const author = new OperationAuthor('device-b', LATER)
  const statuses = await appendAll(store, [
    author.update(uuid(1), { title: 'touched' }),
    author.update(uuid(3), { title: 'moved' }),
    author.insert('by name', { title: 'back', userId: 'u1' }),
    author.insert(uuid(5), { title: 'new', userId: 'u1' }),
  ])
  expect(statuses).toEqual(Array(4).fill('applied'))
  await store.rebuildCollections()
  const shown = await store.queryCollection('todos', { orderBy: 'id' })
  expect(shown.map(({ id, title, userId }) => `${id} ${title} ${userId}`)).toEqual([
    `${uuid(1)} touched u1`,
    `${uuid(2)} new u1`,
    `${uuid(3)} moved u2`,
    `${uuid(4)} untouched too u2`,
    `${uuid(5)} new u1`,
    'by name back u1',
  ])
  expect(await historyOf(store, uuid(1))).toEqual(['1 insert', '11 update'])
  expect(await historyOf(store, uuid(5))).toEqual(['15 insert']) // 14 is a snapshot: the one before came into another scope
  expect(await damageIn(store)).toEqual([])
  await store.setSchema(schema)
  const vector = await store.getHandshakeVector({ nodeIds: [], entry: null, userId: null, maxOthers: 10 })
  expect([...vector.keys()]).toEqual(expect.arrayContaining(['device-a', 'device-b']))
  await store.close()
  expect(layoutOf(filename)).toBe('6')
  expect(indexesOf(filename)).toEqual(indexesOf(newStore(directory.path)))
})

test('who has put a reference to a blob into a store of layout 4 counts as not proven', async () => {
  using directory = temporaryDirectory()
  const filename = newStore(directory.path)
  const author = new OperationAuthor('device')
  const hash = 'a'.repeat(64)
  const insert = async (store: SqliteServerStore, recordId: string): Promise<void> => {
    await appendAll(store, [author.insert(recordId, { file: { hash, size: 1 } })])
  }
  const earlier = createSqliteServerStore({ filename })
  await insert(earlier, 'earlier')
  await earlier.close()
  takeBackFrom6(filename)
  execute(filename, "UPDATE _kora_meta SET value = '4' WHERE key = 'layout'")

  const store = createSqliteServerStore({ filename })
  await insert(store, 'later')

  const referrers = await store.readBlobReferrers(hash, 10)
  expect(referrers.map(({ recordId, author }) => [recordId, author])).toEqual([
    ['earlier', null],
    ['later', 'device'],
  ])
  await store.close()
})

test('what was sent to a store of layout 5 counts as sent long ago', async () => {
  using directory = temporaryDirectory()
  const filename = newStore(directory.path)
  const hash = 'a'.repeat(64)
  const send = (store: SqliteServerStore, userId: string) =>
    store.recordBlobUpload({ hash, byteLength: 9, userId, holders: [userId] })
  const earlier = createSqliteServerStore({ filename })
  for (const userId of ['earlier', 'both']) await send(earlier, userId)
  await earlier.close()
  takeBackFrom6(filename)

  const store = createSqliteServerStore({ filename })
  expect(await store.checkBlobHolders(hash, ['earlier'])).toBe('held')
  await send(store, 'both')
  await store.forgetBlobs([hash], 1)

  expect(await store.checkBlobHolders(hash, ['earlier'])).toBe('held-by-others')
  expect(await store.checkBlobHolders(hash, ['both'])).toBe('held')
  expect([await store.getBlobUsage('earlier'), await store.getBlobUsage('both')]).toEqual([0, 9])
  await store.close()
})

test('a store of layout 1 can be read beside nobody, and stays as it is', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  writeLayout1(filename)
  const store = createSqliteServerStore({ filename, readOnly: true })
  expect(await store.countCollection('todos')).toBe(4)
  expect(await historyOf(store, uuid(3))).toEqual(['6 insert', '7 update'])
  expect(await readOfNode(store)).toEqual([2, 3, 4, 5, 6, 7])
  await store.close()
  expect(layoutOf(filename)).toBe('1')
})

test('an entry that its node or its scope does not find is reported', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  const author = new OperationAuthor('a')
  const inserts = [1, 2, 3].map((number) => author.insert(uuid(number), { title: 'x', userId: 'u1' }))
  await appendAll(store, inserts)
  expect(await damageIn(store)).toEqual([])
  execute(filename, 'UPDATE _kora_scope SET count = 2')
  expect((await damageIn(store)).map(({ place }) => place)).toEqual(['row 3 of the log'])
  execute(filename, 'UPDATE _kora_scope SET count = 3', 'UPDATE _kora_node_runs SET count = 1')
  expect((await damageIn(store)).map(({ place }) => place)).toEqual([
    'node a',
    'row 2 of the log',
    'row 3 of the log',
  ])
  await store.close()
})

test('the state of a record is stored from its first change on', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('a')
  const ids = ['inserted', 'updated', 'updated at once', 'updated first'].map(recordIdOf)
  const [inserted = '', updated = '', atOnce = '', first = ''] = ids
  await appendAll(store, [
    author.insert(inserted, { title: 'x', userId: 'u1' }),
    author.insert(updated, { title: 'x', userId: 'u1' }),
    author.insert(atOnce, { title: 'x', userId: 'u1' }),
    author.update(atOnce, { title: 'y' }),
    author.update(first, { title: 'y' }),
  ])
  await appendAll(store, [author.update(updated, { title: 'z' })])
  const states = query<{ isStored: number }>(
    filename,
    "SELECT state <> '' AS isStored FROM _kora_records ORDER BY id",
  )
  expect(states.map(({ isStored }) => isStored)).toEqual([0, 1, 1, 1])
  const values = await store.readRecordValues('todos', ids)
  expect(ids.map((id) => values.get(id)?.values.title)).toEqual(['x', 'z', 'y', 'y'])
  expect(values.get(updated)?.values.userId).toBe('u1')
  expect(await damageIn(store)).toEqual([])
  await store.close()
})

test('a record whose one insert is gone is reported and not served as another', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('a')
  await appendAll(store, [author.insert('r', { title: 'x', userId: 'u1' })])
  const db = new (loadSqliteDriver())(filename)
  db.exec('DELETE FROM _kora_operations')
  db.close()
  expect((await damageIn(store)).map(({ place }) => place)).toContain('record todos/r')
  await expect(appendAll(store, [author.update('r', { title: 'y' })])).rejects.toMatchObject({
    code: 'STORE_CORRUPT',
  })
  await store.close()
})

const COMPACT_ALL: CompactionRules = { supersededBefore: Number.MAX_SAFE_INTEGER, deletedBefore: null }

test('a damaged insert does not keep the records after it from being compacted', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('a')
  await appendAll(store, [
    author.insert('damaged', { title: 'one', userId: 'u1' }),
    author.insert('updated', { title: 'two', userId: 'u1' }),
    ...['a', 'b', 'c'].map((title) => author.update('updated', { title })),
  ])
  execute(filename, "UPDATE _kora_operations SET wire_json = replace(wire_json, 'one', 'onf') WHERE seq = 1")

  const { dropped } = await store.compactStep(0, COMPACT_ALL)

  expect(dropped.map(({ operations }) => operations)).toEqual([2])
  await store.close()
})

test('a first row that claims to be of another record is not left out of a replay', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('a')
  await appendAll(store, [
    author.insert('r', { title: 'one', userId: 'u1' }),
    author.update('r', { title: 'two' }),
  ])
  // What a bit on the disk does, the index does not learn.
  execute(
    filename,
    'DROP INDEX _kora_operations_record',
    'UPDATE _kora_operations SET record = 77 WHERE seq = 1',
    'CREATE INDEX _kora_operations_record ON _kora_operations (record) WHERE record <> seq AND record <> 77',
  )
  await store.close()

  const opened = createSqliteServerStore({ filename })
  await expect(opened.rebuildCollections(['todos'])).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
  await opened.close()
})

test('a store whose layout another process has changed is neither read nor written any more', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  writeLayout1(filename)
  const reader = createSqliteServerStore({ filename, readOnly: true })
  expect(await reader.countCollection('todos')).toBe(4)
  const writer = createSqliteServerStore({ filename })
  const changed = {
    code: 'STORE_NEWER',
    message: expect.stringMatching(/from layout 1 to 6\. Start this one again/),
  }
  await expect(reader.countCollection('todos')).rejects.toMatchObject(changed)
  await expect(damageIn(reader)).rejects.toMatchObject(changed)

  execute(filename, "UPDATE _kora_meta SET value = '7' WHERE key = 'layout'")
  const author = new OperationAuthor('device-b', LATER)
  await expect(appendAll(writer, [author.insert('x', { title: 'x' })])).rejects.toMatchObject({
    code: 'STORE_NEWER',
  })
  await expect(writer.checkHealth()).rejects.toMatchObject({ code: 'STORE_NEWER' })
  execute(filename, "UPDATE _kora_meta SET value = '6' WHERE key = 'layout'")
  expect(await appendAll(writer, [author.insert('x', { title: 'x' })])).toEqual(['applied'])
  await reader.close()
  await writer.close()
})

test('a store whose layout has become newer meanwhile is not taken back', () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  writeLayout1(filename)
  execute(filename, "UPDATE _kora_meta SET value = '7' WHERE key = 'layout'")
  expect(() => createSqliteServerStore({ filename })).toThrow(/has layout 7; this release reads up to 6/)
  expect(layoutOf(filename)).toBe('7')
})
