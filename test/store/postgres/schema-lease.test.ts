import pg from 'pg'
import { expect, test } from 'vitest'
import { type Logger, silentLogger } from '../../../src/core/logger.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { newWork } from '../../../src/store/materialize/pending-work.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

const title = t.string()
const rank = t.number().optional()
const earliest = defineSchema({ version: 1, collections: { todos: { fields: { title } } } })
const earlier = defineSchema({
  version: 2,
  collections: { todos: { fields: { title, note: t.string().optional() } } },
})
const later = defineSchema({
  version: 3,
  collections: { todos: { fields: { title, note: t.string().optional(), rank }, indexes: ['title'] } },
})

async function openServer({ connectionString }: TestDatabase) {
  const messages: string[] = []
  const note: Logger['warn'] = (_, message) => void messages.push(message)
  const logger = { ...silentLogger, info: note, warn: note }
  const store = await createPostgresServerStore({ connectionString, logger })
  return {
    store,
    messages,
    async [Symbol.asyncDispose]() {
      await store.close()
    },
  }
}

/** Somebody whose transaction holds up others, until it is ended. */
async function openTransaction({ connectionString }: TestDatabase, read: string) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query(`BEGIN ISOLATION LEVEL REPEATABLE READ; ${read}`)
  return { end: () => client.end() }
}

const ageLeases = (database: TestDatabase) =>
  database.query("UPDATE _kora_servers SET seen_at = seen_at - interval '16 s'")

const leases = (database: TestDatabase) =>
  database.query(
    "SELECT id, schema_version FROM _kora_servers WHERE seen_at > now() - interval '15 s' ORDER BY id",
  )

const HELD_UP = 'waiting for transactions of others on the database'
const WAITING = 'waiting for another server'
const OUTRUN = 'servers of a later schema version run; the tables are left as they are'
const PATIENT = { timeout: 20_000 }

test('a server of the earlier version that starts while a later one makes an index leaves the tables as they are', async () => {
  await using database = await openTestDatabase()
  await using before = await openServer(database)
  await before.store.setSchema(earlier)
  await using updated = await openServer(database)
  await using restarted = await openServer(database)
  const transaction = await openTransaction(database, 'SELECT count(*) FROM pg_class')

  const changing = updated.store.setSchema(later)
  await expect.poll(() => updated.messages, PATIENT).toContain(HELD_UP)
  const restarting = restarted.store.setSchema(earlier)
  await expect.poll(() => restarted.messages, PATIENT).toContain(OUTRUN)
  await transaction.end()
  await Promise.all([changing, restarting])

  expect(await updated.store.planSchema(later)).toMatchObject({ isUpToDate: true })
  const author = new OperationAuthor('a')
  await restarted.store.append([requestOf(author.insert('r1', { title: 'one', rank: 7 }))])
  expect(await updated.store.findRecord('todos', 'r1')).toMatchObject({ rank: 7 })
}, 60_000)

test('a server that has waited for a later one to change the tables leaves them as they are then', async () => {
  await using database = await openTestDatabase()
  await using before = await openServer(database)
  await before.store.setSchema(earliest)
  await using updated = await openServer(database)
  await using waiting = await openServer(database)
  const transaction = await openTransaction(database, 'SELECT count(*) FROM todos')

  const changing = updated.store.setSchema(later)
  await expect.poll(() => updated.messages, PATIENT).toContain(HELD_UP)
  const starting = waiting.store.setSchema(earlier)
  await expect.poll(() => waiting.messages, PATIENT).toContain(WAITING)
  await transaction.end()
  await Promise.all([changing, starting])

  expect(await updated.store.planSchema(later)).toMatchObject({ isUpToDate: true })
  expect(waiting.messages).toContain(OUTRUN)
}, 60_000)

test('a server of the earlier version shows no table that a later one has not yet filled', async () => {
  await using database = await openTestDatabase()
  await using before = await openServer(database)
  await before.store.setSchema(later)
  await before.store.close()
  await database.query("INSERT INTO _kora_meta VALUES ('schema_change', $1)", [
    JSON.stringify([newWork('todos', 'backfill', true)]),
  ])
  await using restarted = await openServer(database)

  await restarted.store.setSchema(earlier)

  expect(restarted.messages).toContain(OUTRUN)
  await expect(restarted.store.queryCollection('todos')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
})

test('a process that has changed the tables is known until it is a server, and is none before', async () => {
  await using database = await openTestDatabase()
  await using updated = await openServer(database)
  const { store } = updated
  await store.setSchema(later)
  await ageLeases(database)

  const own = { id: `schema ${store.cluster.serverId}`, schema_version: 3 }
  await expect.poll(() => leases(database), PATIENT).toEqual([own]) // renewed
  expect(await store.listServers()).toEqual([])

  store.cluster.onMembership(() => {})
  const row = { id: store.cluster.serverId, schema_version: 3 }
  await expect.poll(() => leases(database), PATIENT).toEqual([row])
}, 60_000)

test('the tables are turned back once no server of the later version is left', async () => {
  await using database = await openTestDatabase()
  await using updated = await openServer(database)
  await updated.store.setSchema(later)
  updated.store.cluster.onMembership(() => {})
  await expect
    .poll(async () => (await leases(database)).map(({ id }) => id), PATIENT)
    .toEqual([updated.store.cluster.serverId])
  await updated.store.close()

  await using former = await openServer(database)
  await former.store.setSchema(earlier)

  expect(former.messages).not.toContain(OUTRUN)
  expect(await former.store.planSchema(earlier)).toMatchObject({ isUpToDate: true })
}, 60_000)

test('the tables are turned back once the lease of a command that has changed them is over', async () => {
  await using database = await openTestDatabase()
  await using command = await openServer(database)
  await command.store.setSchema(later)
  await command.store.close()
  await using former = await openServer(database)
  await former.store.setSchema(earlier)
  expect(former.messages).toContain(OUTRUN)
  await ageLeases(database)

  await former.store.setSchema(earlier)

  expect(await former.store.planSchema(earlier)).toMatchObject({ isUpToDate: true })
})
