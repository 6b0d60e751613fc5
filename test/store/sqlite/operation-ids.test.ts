import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { LAYOUT_STATEMENTS } from '../../../src/store/sqlite/layout.ts'
import { MetaTable } from '../../../src/store/sqlite/meta-table.ts'
import { OperationIds } from '../../../src/store/sqlite/operation-ids.ts'
import { createSqliteServerStore, type SqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'

// More than wait in memory, so that some are found in the index and some are not in it yet.
const MANY = 20_000
const BATCH = 500

function writeMany(author: OperationAuthor, count: number): Operation[] {
  return Array.from({ length: count }, (_, index) =>
    author.insert(recordIdOf(`${author.nodeId}-${index % 100}`), { title: `title ${index}` }),
  )
}

/** How often each status was the answer. */
async function send(
  store: SqliteServerStore,
  operations: readonly Operation[],
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let start = 0; start < operations.length; start += BATCH) {
    for (const status of await appendAll(store, operations.slice(start, start + BATCH))) {
      counts[status] = (counts[status] ?? 0) + 1
    }
  }
  return counts
}

function countIndexed(filename: string): number {
  const db = new (loadSqliteDriver())(filename)
  const count = db.prepare<[], number>('SELECT count(*) FROM _kora_operation_ids').pluck().get()
  db.close()
  return count ?? 0
}

test('operations are found by their ids, indexed or not, also after a restart', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const operations = writeMany(new OperationAuthor('a'), MANY)
  const first = createSqliteServerStore({ filename, durability: 'normal' })
  expect(await send(first, operations)).toEqual({ applied: MANY })
  expect(await send(first, operations)).toEqual({ duplicate: MANY })
  await first.close()
  expect(countIndexed(filename)).toBeGreaterThan(0)
  expect(countIndexed(filename)).toBeLessThan(MANY)

  const second = createSqliteServerStore({ filename, durability: 'normal' })
  expect(await send(second, operations)).toEqual({ duplicate: MANY })
  await second.close()
})

test('operations are found by their ids whichever process has stored them', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const stores = ['a', 'b'].map((name) => ({
    store: createSqliteServerStore({ filename, durability: 'normal' }),
    operations: writeMany(new OperationAuthor(name), MANY),
  }))
  for (let start = 0; start < MANY; start += 2 * BATCH) {
    for (const { store, operations } of stores) {
      expect(await send(store, operations.slice(start, start + 2 * BATCH))).toEqual({ applied: 2 * BATCH })
    }
  }
  for (const { store } of stores) {
    for (const { operations } of stores) expect(await send(store, operations)).toEqual({ duplicate: MANY })
  }
  for (const { store } of stores) await store.close()
})

test('an operation that another process stores while the log is being indexed is known', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const author = new OperationAuthor('a')
  const records = Array.from({ length: 600 }, (_, index) => recordIdOf(`r${index}`)) // three steps
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  await send(
    store,
    records.map((id) => author.insert(id, { owner: 'u1' })),
  )
  await send(
    store,
    records.map((id) => author.update(id, { owner: 'u2' })),
  )
  const other = createSqliteServerStore({ filename, durability: 'normal' })
  const theirs = [new OperationAuthor('b').insert(recordIdOf('x'), { owner: 'u2' })]

  const indexed = store.trackScopeField('todos', 'owner', { isGranted: true }) // adds a snapshot to each record
  await new Promise((resolve) => setImmediate(resolve))
  expect(await send(other, theirs)).toEqual({ applied: 1 })
  await indexed

  expect(await send(store, theirs)).toEqual({ duplicate: 1 })
  expect(await store.getOperationCount()).toBe(1201)
  await store.close()
  await other.close()
})

test('ids that could not be indexed are not indexed with those of the next transaction', () => {
  const db = new (loadSqliteDriver())(':memory:')
  for (const statement of LAYOUT_STATEMENTS) db.exec(statement)
  const ids = new OperationIds(db, new MetaTable(db))
  const addTwice = (id: string, sequence: number): void => {
    ids.add(id, sequence)
    ids.add(id, sequence + 1) // the first goes into the index
  }
  db.exec(
    `CREATE TRIGGER failing BEFORE INSERT ON _kora_operation_ids BEGIN SELECT RAISE(ABORT, 'failed'); END`,
  )
  expect(() => addTwice('a'.repeat(64), 1)).toThrow('failed')
  ids.clearMemory()
  db.exec('DROP TRIGGER failing')

  addTwice('b'.repeat(64), 7)

  expect(db.prepare('SELECT seq FROM _kora_operation_ids').pluck().all()).toEqual([7])
  db.close()
})

test('the index is taken for complete only up to where it is, also after an id has come again', () => {
  const db = new (loadSqliteDriver())(':memory:')
  for (const statement of LAYOUT_STATEMENTS) db.exec(statement)
  const meta = new MetaTable(db)
  const ids = new OperationIds(db, meta)
  const twice = '0'.repeat(64)
  const beside = twice.replace(/^00/, '01')
  const elsewhere = 'f'.repeat(64)
  const others = Array.from({ length: MANY }, (_, n) => `8${String(n).padStart(12, '0')}`.padEnd(64, '0'))
  const isIndexed = db.prepare<[number], number>('SELECT 1 FROM _kora_operation_ids WHERE seq = ?').pluck()
  let checkedThrough = 0
  const missing: number[] = []
  for (const [index, id] of [twice, beside, elsewhere, twice, ...others].entries()) {
    ids.add(id, index + 1)
    ids.settle()
    const through = meta.getNumber('ids_indexed_through')
    while (checkedThrough < through)
      if (isIndexed.get(++checkedThrough) === undefined) missing.push(checkedThrough)
  }
  expect(missing).toEqual([])
  expect(checkedThrough).toBeGreaterThan(3)
  db.close()
})

test('an operation of a transaction that was rolled back is not taken for stored', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  const author = new OperationAuthor('a')
  const operations = [...writeMany(author, 3), author.insert(recordIdOf('last'), { title: 'boom' })]
  const db = new (loadSqliteDriver())(filename)
  db.exec(`CREATE TRIGGER failing BEFORE INSERT ON _kora_operations WHEN new.wire_json LIKE '%boom%'
    BEGIN SELECT RAISE(ABORT, 'failed'); END`)
  await expect(send(store, operations)).rejects.toThrow()
  const others = writeMany(new OperationAuthor('b'), 3)
  expect(await send(store, others)).toEqual({ applied: 3 }) // under the sequences of those that are not there
  db.exec('DROP TRIGGER failing')
  db.close()
  expect(await send(store, operations)).toEqual({ applied: 4 })
  expect(await send(store, [...operations, ...others])).toEqual({ duplicate: 7 })
  await store.close()
})
