import { expect, test, vi } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { SERVER_ITSELF } from '../../../src/core/write-access.ts'
import { operationOfWireJson } from '../../../src/protocol/wire-identity.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../../src/store/postgres/postgres-store.ts'
import { endConnections, loseAfter } from '../../support/lost-end.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

const RESTORE_GAP = 1_000_000_000
/** Stores look for commits each 20 ms; on a busy machine that may be seconds. */
const IN_TIME = { timeout: 10_000 }

async function openStore(database: TestDatabase, options: { readOnly?: boolean; nodeId?: string } = {}) {
  const { connectionString } = database
  return createPostgresServerStore({ connectionString, pollIntervalMs: 20, ...options })
}

function insertOf(author: OperationAuthor, name: string) {
  return requestOf(author.insert(recordIdOf(name), { title: name, userId: 'u' }))
}

/** By the server itself. */
async function write(store: PostgresServerStore, name: string): Promise<Operation> {
  const written = {
    type: 'insert',
    collection: 'todos',
    recordId: recordIdOf(name),
    data: { title: name },
  } as const
  const [result] = await store.append([
    { ...written, author: 'server', access: SERVER_ITSELF, schemaVersion: 1 },
  ])
  if (result?.status !== 'applied') throw new Error(`${name} was not stored`)
  return operationOfWireJson(result.entries[0]?.wireJson ?? '')
}

async function sequencesOf(store: PostgresServerStore): Promise<number[]> {
  const { entries } = await store.readLog(0, 100, 1e6)
  return entries.map(({ deliverySequence }) => deliverySequence)
}

test('what is appended to a log that has lost its end is numbered above all that was known of it', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  const requests = ['one', 'two', 'three'].map((name) => insertOf(author, name))
  await store.append(requests)
  await loseAfter(database, 1)

  const onReplaced = vi.fn()
  store.onLogReplaced(onReplaced)
  // Made by the log as it was, it would move the version vector over what is lost.
  await expect(store.append([insertOf(author, 'four')])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  expect(onReplaced).toHaveBeenCalledTimes(1)
  expect((await store.getVersionVector()).get('a')).toBe(1)

  const results = await store.append([...requests, insertOf(author, 'five')])

  expect(results.map(({ status }) => status)).toEqual(['duplicate', 'applied', 'applied', 'applied'])
  const [first, second, ...others] = await sequencesOf(store)
  expect(first).toBe(1)
  expect(second).toBeGreaterThan(3 + RESTORE_GAP)
  expect(others).toHaveLength(2)
  await store.close()
})

test('what the server itself writes to a log that has lost its end is numbered as of another node', async () => {
  await using database = await openTestDatabase()
  const [store, other] = [await openStore(database), await openStore(database)]
  const node = store.getNodeId()
  const first = await write(store, 'one')
  const lost = await write(store, 'two') // a device has it
  await loseAfter(database, 1)
  await database.query('UPDATE _kora_counters SET server_sequence = 1')

  await store.getMaxDeliverySequence()
  const next = await write(store, 'three')
  await other.append([requestOf(lost)])
  const last = await write(other, 'four')

  const numbers = [first, lost, next, last].map(({ nodeId, sequenceNumber }) => [nodeId, sequenceNumber])
  expect(numbers).toEqual([
    [node, 1],
    [node, 2],
    [store.getNodeId(), 1],
    [store.getNodeId(), 2],
  ])
  expect(store.getNodeId()).not.toBe(node)
  for (const one of [store, other]) {
    expect([...one.getFormerNodeIds()]).toEqual([node])
    await one.close()
  }
})

test('a node that only what is lost tells of is a former one, too', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const node = store.getNodeId()
  await write(store, 'one')
  const [counters] = await database.query('SELECT * FROM _kora_counters')
  const settings = await database.query('SELECT * FROM _kora_meta')
  await store.importBackup(await store.exportBackup())
  const restored = store.getNodeId()
  await write(store, 'two') // a device has it

  await loseAfter(database, 1)
  await database.query('UPDATE _kora_counters SET server_sequence = $1, epoch = $2', [
    counters?.server_sequence,
    counters?.epoch,
  ])
  await database.query('DELETE FROM _kora_meta')
  for (const { key, value } of settings) {
    await database.query('INSERT INTO _kora_meta VALUES ($1, $2)', [key, value])
  }
  await store.getMaxDeliverySequence()

  expect(restored).not.toBe(node)
  expect(store.getNodeId()).not.toBe(restored)
  expect([...store.getFormerNodeIds()].sort()).toEqual([node, restored].sort())
  await store.close()
})

test('what it writes as a node that was chosen is numbered above all that may be lost', async () => {
  await using database = await openTestDatabase()
  const [beside, store] = [await openStore(database), await openStore(database, { nodeId: 'chosen' })]
  const node = beside.getNodeId()
  for (const name of ['one', 'two']) await write(store, name)
  await loseAfter(database, 1)
  await database.query('UPDATE _kora_counters SET server_sequence = 1')

  await store.getMaxDeliverySequence()
  const next = await write(store, 'three')

  expect(next.nodeId).toBe('chosen')
  expect(next.sequenceNumber).toBeGreaterThan(2)
  expect([...store.getFormerNodeIds()]).toEqual([node]) // of servers that were given none
  await Promise.all([store, beside].map((one) => one.close()))
})

test('a log that another server has written past the lost end is noticed once connections were lost', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  const requests = ['one', 'two', 'three'].map((name) => insertOf(author, name))
  await store.append(requests)
  await loseAfter(database, 1)
  const other = await openStore(database) // which knows nothing of what is lost
  const stranger = new OperationAuthor('b')
  await other.append(['four', 'five', 'six'].map((name) => insertOf(stranger, name)))
  await endConnections(database)

  const onReplaced = vi.fn()
  store.onLogReplaced(onReplaced)
  const next = insertOf(author, 'seven')
  await expect
    .poll(() => store.append([next]).catch(({ message }) => message))
    .toContain('has taken its place')
  expect(onReplaced).toHaveBeenCalledTimes(1)
  const results = await store.append([...requests, next])

  expect(results.map(({ status }) => status)).toEqual(['duplicate', 'applied', 'applied', 'applied'])
  const sequences = await sequencesOf(store)
  expect(sequences.slice(0, 4)).toEqual([1, 2, 3, 4])
  expect(sequences[4]).toBeGreaterThan(4 + RESTORE_GAP)
  expect(sequences).toHaveLength(7)
  await Promise.all([store, other].map((one) => one.close()))
})

test('it is noticed though what was sent again has come to the place where it was', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  const requests = ['one', 'two', 'three'].map((name) => insertOf(author, name))
  for (const request of requests) await store.append([request])
  await loseAfter(database, 1)
  const other = await openStore(database)
  await other.append([insertOf(new OperationAuthor('b'), 'four')])
  await other.append(requests.slice(2))
  await endConnections(database)

  await expect.poll(() => store.getMaxDeliverySequence().catch(() => 0)).toBeGreaterThan(3 + RESTORE_GAP)

  expect(store.doubtfulThrough).toBeGreaterThan(3)
  await Promise.all([store, other].map((one) => one.close()))
})

test('what was read of a log is in doubt once another server has written in the place of what is lost', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  for (const name of ['one', 'two', 'three']) await store.append([insertOf(author, name)])
  await loseAfter(database, 1)
  const other = await openStore(database) // which knows nothing of what is lost
  await other.append([insertOf(new OperationAuthor('b'), 'four')])
  expect(other.doubtfulThrough).toBe(0)

  const end = await store.getMaxDeliverySequence() // the log is shorter, and its end another one
  await other.getMaxDeliverySequence()

  const later = await openStore(database)
  await later.getMaxDeliverySequence()
  for (const one of [store, other, later]) {
    expect(one.doubtfulThrough).toBe(end - 1)
    await one.close()
  }
})

test('nothing is in doubt where the log has only lost its end', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  for (const name of ['one', 'two', 'three']) await store.append([insertOf(author, name)])
  await loseAfter(database, 2)

  expect(await store.getMaxDeliverySequence()).toBeGreaterThan(3 + RESTORE_GAP)

  expect(store.doubtfulThrough).toBe(0)
  await store.close()
})

test('a log that has lost nothing stays the same when connections are lost', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  await store.append([insertOf(author, 'one')])
  const onReplaced = vi.fn()
  store.onLogReplaced(onReplaced)
  // As when another operation turns out to be the one that the id belongs to.
  await database.query('UPDATE _kora_operations SET id = sha256(id || int8send(seq))')
  await endConnections(database)

  const request = insertOf(author, 'two')
  await vi.waitFor(() => store.append([request]))

  expect(await sequencesOf(store)).toEqual([1, 2])
  expect(onReplaced).not.toHaveBeenCalled()
  await store.close()
})

test('who only reads on notices too, and once the log is numbered above the gap, nobody does it again', async () => {
  await using database = await openTestDatabase()
  const writer = await openStore(database)
  await writer.append(['one', 'two'].map((name) => insertOf(new OperationAuthor(name), name)))
  const readers = await Promise.all([openStore(database), openStore(database)])
  for (const reader of readers) await reader.readLog(0, 10, 1e6)
  const onCommit = vi.fn()
  for (const reader of readers) reader.onCommit(onCommit)
  await vi.waitFor(() => expect(onCommit).toHaveBeenCalledTimes(2), IN_TIME)

  await loseAfter(database, 1)

  await vi.waitFor(() => expect(onCommit).toHaveBeenCalledTimes(4), IN_TIME)
  const end = await writer.getMaxDeliverySequence()
  expect(end).toBeGreaterThan(2 + RESTORE_GAP)
  await writer.append([insertOf(new OperationAuthor('three'), 'three')])
  expect(await sequencesOf(writer)).toEqual([1, end + 1])
  await Promise.all([writer, ...readers].map((store) => store.close()))
})

test('numbers of nodes that were lost stand for nobody any more, or for somebody else', async () => {
  await using database = await openTestDatabase()
  const [store, other] = [await openStore(database), await openStore(database)]
  const [kept, lost, stranger] = ['kept', 'lost', 'stranger'].map((name) => new OperationAuthor(name))
  if (kept === undefined || lost === undefined || stranger === undefined) throw new Error('There are three')
  await store.append([insertOf(kept, 'one')])
  await store.append([insertOf(lost, 'two')])
  await other.readLog(0, 10, 1e6)
  await loseAfter(database, 1)
  await database.query("UPDATE _kora_nodes SET node_id = 'stranger' WHERE node_id = 'lost'")

  await store.getMaxDeliverySequence()
  await store.append([insertOf(lost, 'three'), insertOf(stranger, 'four')])

  const nodes = ['kept', 'lost', 'stranger']
  for (const reader of [store, other, await openStore(database)]) {
    const { entries } = await reader.readLog(0, 10, 1e6)
    expect(entries.map(({ nodeId }) => nodeId)).toEqual(nodes)
    expect(await reader.getVersionVector()).toEqual(
      new Map(Object.entries({ kept: 1, lost: 2, stranger: 1 })),
    )
    await reader.close()
  }
})

test('a node of which only the number was lost is given another one', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  await store.append([insertOf(new OperationAuthor('kept'), 'one')])
  const request = insertOf(new OperationAuthor('lost'), 'two')
  await database.query('ALTER TABLE _kora_operations ADD CONSTRAINT is_full CHECK (seq < 2)')
  await expect(store.append([request])).rejects.toThrow()
  await database.query('ALTER TABLE _kora_operations DROP CONSTRAINT is_full')
  await database.query("DELETE FROM _kora_nodes WHERE node_id = 'lost'")
  await endConnections(database)

  await vi.waitFor(() => store.append([request]))

  for (const reader of [store, await openStore(database)]) {
    const { entries } = await reader.readLog(0, 10, 1e6)
    expect(entries.map(({ nodeId }) => nodeId)).toEqual(['kept', 'lost'])
    await reader.close()
  }
})

test('settings that were lost count no more, though there are as many changes of them again', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  await store.append([insertOf(author, 'one')])
  await store.trackScopeField('todos', 'userId')
  await store.append([insertOf(author, 'two')])
  await loseAfter(database, 1)
  await database.query('DELETE FROM _kora_tracked')

  await store.append([insertOf(author, 'three')]).catch(() => {})

  expect(await store.isScopeFieldTracked('todos', 'userId')).toBe(false)
  await store.close()
})

test('who may only read takes the log as it is: replicas may be read in turn', async () => {
  await using database = await openTestDatabase()
  const writer = await openStore(database)
  await writer.append(['one', 'two'].map((name) => insertOf(new OperationAuthor(name), name)))
  const reader = await openStore(database, { readOnly: true })
  expect(await reader.getMaxDeliverySequence()).toBe(2)
  await loseAfter(database, 1)

  expect(await reader.getMaxDeliverySequence()).toBe(1)
  await writer.close()
  await reader.close()
})
