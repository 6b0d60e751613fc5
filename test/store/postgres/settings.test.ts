import pg from 'pg'
import { expect, test, vi } from 'vitest'
import type { ScopeFilter } from '../../../src/core/scope.ts'
import { createView } from '../../../src/core/view.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../../src/store/postgres/postgres-store.ts'
import { endConnections, loseTracking } from '../../support/lost-end.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

async function openStore({ connectionString }: TestDatabase) {
  return createPostgresServerStore({ connectionString, pollIntervalMs: 20 })
}

function insertOf(author: OperationAuthor, name: string) {
  return requestOf(author.insert(recordIdOf(name), { title: name, userId: 'u' }))
}

/** The delivery sequences that a view by one field shows. */
async function visibleTo(store: PostgresServerStore, filter: ScopeFilter): Promise<number[]> {
  const view = createView({ todos: filter })
  const { entries } = await store.readDelivery({ after: 0, view, limit: 10, maxBytes: 1e6 })
  return entries.map(({ deliverySequence }) => deliverySequence)
}

/** Resolves when connections that were lost have been replaced, and the end of the log has been read again. */
async function pollAgain(store: PostgresServerStore): Promise<void> {
  await vi.waitFor(() => store.getMaxDeliverySequence(), { timeout: 10_000 })
}

test('a field that a replica which has taken over does not know is tracked anew, and all of it is delivered', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  await store.append([insertOf(new OperationAuthor('a'), 'one')])
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  expect(await visibleTo(store, { userId: 'u' })).toEqual([1])
  const onReplaced = vi.fn()
  store.onLogReplaced(onReplaced)

  await loseTracking(database)
  await endConnections(database)
  await pollAgain(store)

  expect(onReplaced).toHaveBeenCalledTimes(1) // who reads by it comes back, and asks for it again
  expect(await store.isScopeFieldTracked('todos', 'userId')).toBe(false)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  expect(await visibleTo(store, { userId: 'u' })).toEqual([1])
  await store.close()
})

test('it is noticed by the first look at the log, though no connection was seen to end', async () => {
  await using database = await openTestDatabase()
  const [store, other] = [await openStore(database), await openStore(database)]
  await store.append([insertOf(new OperationAuthor('a'), 'one')])
  await store.trackScopeField('todos', 'userId', { isGranted: true })

  await loseTracking(database)
  await other.trackScopeField('todos', 'title', { isGranted: true })
  await store.getMaxDeliverySequence()

  expect(await store.isScopeFieldTracked('todos', 'userId')).toBe(false)
  expect(await store.isScopeFieldTracked('todos', 'title')).toBe(true)
  await Promise.all([store, other].map((one) => one.close()))
})

test('it is noticed by whoever is reading by the field while connections are lost', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  await store.append([insertOf(new OperationAuthor('a'), 'one')])
  await store.trackScopeField('todos', 'userId')
  await Promise.all([store.getMaxDeliverySequence(), store.getMaxDeliverySequence()]) // two connections
  const onReplaced = vi.fn()
  store.onLogReplaced(onReplaced)
  const replica = new pg.Client({ connectionString: database.connectionString })
  await replica.connect()
  await replica.query('BEGIN; LOCK TABLE _kora_scope')
  const reading = visibleTo(store, { userId: 'u' })
  const connections = 'SELECT pid FROM pg_stat_activity WHERE datname = current_database()'
  const waiting = `${connections} AND wait_event_type = 'Lock'`
  await vi.waitFor(async () => expect(await database.query(waiting)).toHaveLength(1))

  await loseTracking(replica)
  const idle = `${connections} AND state = 'idle'`
  await database.query(`SELECT pg_terminate_backend(pid) FROM (${idle}) AS others`)
  await vi.waitFor(async () => expect(await database.query(idle)).toHaveLength(0))
  await replica.query('COMMIT')
  await replica.end()
  await reading

  expect(onReplaced).toHaveBeenCalledTimes(1)
  await store.close()
})

test('nothing is stored by settings that are lost, though as many changes have been made in their place', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  const author = new OperationAuthor('a')
  await store.append([insertOf(author, 'one')])
  await store.trackScopeField('todos', 'userId')

  await loseTracking(database)
  await endConnections(database)
  const other = await openStore(database) // which knows nothing of what is lost
  await other.trackScopeField('todos', 'title')
  await pollAgain(store)
  const request = insertOf(author, 'two')
  await vi.waitFor(() => store.append([request]))

  expect(await visibleTo(other, { title: 'two' })).toEqual([2])
  await Promise.all([store, other].map((one) => one.close()))
})

test('a field of which only the end of its indexing is lost is indexed again', async () => {
  await using database = await openTestDatabase()
  const store = await openStore(database)
  await store.append([insertOf(new OperationAuthor('a'), 'one')])
  await database.query('ALTER TABLE _kora_scope ADD CONSTRAINT is_full CHECK (seq < 1)')
  await expect(store.trackScopeField('todos', 'userId')).rejects.toThrow()
  await database.query('ALTER TABLE _kora_scope DROP CONSTRAINT is_full')
  const [before] = await database.query('SELECT epoch FROM _kora_counters')
  await store.trackScopeField('todos', 'userId')

  await database.query('DELETE FROM _kora_scope')
  await database.query('UPDATE _kora_tracked SET is_ready = false, indexed_through = 0')
  await database.query('UPDATE _kora_operations SET scope = NULL')
  await database.query('UPDATE _kora_counters SET epoch = $1', [before?.epoch])
  await store.getMaxDeliverySequence()
  await store.trackScopeField('todos', 'userId')

  expect(await visibleTo(store, { userId: 'u' })).toEqual([1])
  await store.close()
})

test('settings that could not be read are read by whoever looks next, and nobody reads by the former ones', async () => {
  await using database = await openTestDatabase()
  const [store, other] = [await openStore(database), await openStore(database)]
  await store.append([insertOf(new OperationAuthor('a'), 'one')])
  await other.trackScopeField('todos', 'userId', { isGranted: true })

  await database.query('ALTER TABLE _kora_tracked RENAME TO away')
  await expect(store.getMaxDeliverySequence()).rejects.toThrow()
  await database.query('ALTER TABLE away RENAME TO _kora_tracked')
  await store.getMaxDeliverySequence()

  expect(await store.isScopeFieldTracked('todos', 'userId')).toBe(true)
  await Promise.all([store, other].map((one) => one.close()))
})

test('fields that other servers have tracked disturb nobody', async () => {
  await using database = await openTestDatabase()
  const [store, other] = [await openStore(database), await openStore(database)]
  await store.append([insertOf(new OperationAuthor('a'), 'one')])
  await store.trackScopeField('todos', 'userId')
  const onReplaced = vi.fn()
  store.onLogReplaced(onReplaced)

  await Promise.all(['title', 'userId'].map((field) => other.trackScopeField('todos', field)))
  await endConnections(database)
  await pollAgain(store)

  expect(onReplaced).not.toHaveBeenCalled()
  expect(await visibleTo(store, { title: 'one' })).toEqual([1])
  await Promise.all([store, other].map((one) => one.close()))
})
