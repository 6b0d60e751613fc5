import pg from 'pg'
import { expect, test } from 'vitest'
import { createView } from '../../../src/core/view.ts'
import { lockKey } from '../../../src/store/postgres/advisory-lock.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../../src/store/postgres/postgres-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { openTestDatabase, PostgresServer, type TestDatabase } from '../../support/postgres.ts'

const POOL_SIZE = 2
const FIELDS = ['f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7']

function open({ connectionString }: TestDatabase): Promise<PostgresServerStore> {
  return createPostgresServerStore({ connectionString, poolSize: POOL_SIZE })
}

async function fill(store: PostgresServerStore, collection: string, records = 1): Promise<void> {
  const author = new OperationAuthor(`author of ${collection}`)
  const inserts = Array.from({ length: records }, (_, index) =>
    author.insert(recordIdOf(`${collection} ${index}`), { f0: 0 }, { collection }),
  )
  await appendAll(store, inserts)
}

/** As another server that indexes a field; the first that is tracked has number 1. */
async function indexElsewhere({ connectionString }: TestDatabase, id: number): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query('SELECT pg_advisory_lock($1::bigint)', [lockKey('public', `track:${id}`)])
  return client
}

/** Keeps the records of a collection from being read by a step. */
async function beginToHold({ connectionString }: TestDatabase, collection: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query('BEGIN')
  await client.query(
    `SELECT FROM _kora_records
      WHERE collection = (SELECT id FROM _kora_collections WHERE name = $1) FOR UPDATE`,
    [collection],
  )
  return client
}

const CONNECTIONS =
  "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kora-server'"
const WAITING = `${CONNECTIONS} AND wait_event_type = 'Lock'`

test('fields that clients ask for take one connection beside the pool, however many there are', async () => {
  const [listening, locking, looking] = [1, 1, 1] // the last of them where a statement waits for long
  const connections = POOL_SIZE + listening + locking + looking
  await using server = await PostgresServer.start(['fsync=off', `max_connections=${connections}`])
  await using database = await server.openDatabase()
  const store = await open(database)
  const collections = ['a', 'b', 'c', 'd']
  for (const collection of collections) await fill(store, collection)

  const tracked = await Promise.all(
    collections.flatMap((collection) => FIELDS.map((field) => store.trackScopeField(collection, field))),
  )

  expect(new Set(tracked)).toEqual(new Set([true]))
  await store.close()
}, 60_000)

test('servers that index the same fields in other orders wait for each other no longer than for one field', async () => {
  await using database = await openTestDatabase()
  const [one, two] = await Promise.all([open(database), open(database)])
  await fill(one, 'todos')

  const tracked = await Promise.all([
    ...FIELDS.map((field) => one.trackScopeField('todos', field)),
    ...FIELDS.toReversed().map((field) => two.trackScopeField('todos', field)),
  ])

  expect(new Set(tracked)).toEqual(new Set([true]))
  await Promise.all([one, two].map((store) => store.close()))
})

test('a field that another server indexes holds up no other one', async () => {
  await using database = await openTestDatabase()
  const store = await open(database)
  await fill(store, 'todos')
  const other = await indexElsewhere(database, 1)
  const ended: string[] = []
  const track = async (field: string): Promise<void> => {
    await store.trackScopeField('todos', field)
    ended.push(field)
  }

  const waiting = track('f0')
  await expect.poll(() => database.query('SELECT id FROM _kora_tracked')).toEqual([{ id: 1 }])
  await track('f1')
  await other.end()
  await waiting

  expect(ended).toEqual(['f1', 'f0'])
  await store.close()
})

test('a granted field does not wait until what clients have asked for is indexed', async () => {
  await using database = await openTestDatabase()
  const store = await open(database)
  await fill(store, 'wished', 1001) // six steps
  await fill(store, 'granted')
  const ended: string[] = []
  const track = async (collection: string, isGranted: boolean): Promise<void> => {
    await store.trackScopeField(collection, 'f0', { isGranted })
    ended.push(collection)
  }
  const holding = await beginToHold(database, 'wished')

  const wish = track('wished', false)
  await expect.poll(() => database.query(WAITING)).toHaveLength(1) // in its first step
  const grant = track('granted', true)
  await expect.poll(() => database.query('SELECT FROM _kora_tracked')).toHaveLength(2)
  await holding.end()
  await Promise.all([wish, grant])

  expect(ended).toEqual(['granted', 'wished'])
  const view = createView({ wished: { f0: 0 } })
  const { entries } = await store.readDelivery({ after: 0, view, limit: 2000, maxBytes: 1e9 })
  expect(entries).toHaveLength(1001)
  await store.close()
})

test('fields that wait to be indexed are given up when the store is closed', async () => {
  await using database = await openTestDatabase()
  const store = await open(database)
  await fill(store, 'todos')
  const others = await Promise.all([1, 2].map((id) => indexElsewhere(database, id)))

  const waiting = Promise.allSettled(['f0', 'f1'].map((field) => store.trackScopeField('todos', field)))
  await expect.poll(() => database.query('SELECT FROM _kora_tracked')).toHaveLength(2)
  await store.close()

  for (const outcome of await waiting) {
    expect(outcome).toMatchObject({
      status: 'rejected',
      reason: { code: expect.stringMatching(/^STORE_(CLOSED|UNAVAILABLE)$/) },
    })
  }
  await expect.poll(() => database.query(CONNECTIONS)).toEqual([])
  await Promise.all(others.map((other) => other.end()))
})
