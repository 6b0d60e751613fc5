import pg from 'pg'
import { expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { SERVER_NODE } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

const schema = defineSchema({
  version: 1,
  collections: {
    tasks: {
      fields: { status: t.enum(['open', 'done', 'archived']) },
      stateMachine: {
        field: 'status',
        transitions: { open: ['done'], done: ['archived'], archived: [] },
        onInvalidTransition: 'last-valid-state',
      },
    },
    notes: { fields: { text: t.string() } },
  },
})

/** An update that the server takes back, and a note under the id that it will do so under. */
async function write() {
  const author = new OperationAuthor('a')
  const before = author.insert('t1', { status: 'open' }, { collection: 'tasks' })
  const cause = author.update('t1', { status: 'archived' }, { collection: 'tasks' })
  const store = new MemoryServerStore({ nodeId: SERVER_NODE })
  await store.setSchema(schema)
  await appendAll(store, [before])
  const [result] = await store.append([requestOf(cause)])
  const entry = result?.status === 'applied' ? result.entries.at(-1) : undefined
  const { id } = JSON.parse(String(entry?.wireJson)) as Operation
  return { before, cause, squatter: { ...noteOf('mallory'), id } }
}

function noteOf(nodeId: string): Operation {
  return new OperationAuthor(nodeId).insert(`note of ${nodeId}`, { text: 'x' }, { collection: 'notes' })
}

async function openStore({ connectionString }: TestDatabase) {
  const store = await createPostgresServerStore({ connectionString, nodeId: SERVER_NODE })
  await store.setSchema(schema)
  return store
}

/** Holds the rows that the statement locks until it is told to let go. */
async function hold({ connectionString }: TestDatabase, statement: string) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query('BEGIN')
  expect((await client.query(statement)).rowCount).toBe(1)
  return { letGo: () => client.end() }
}

async function waiting(database: TestDatabase, count: number): Promise<void> {
  await expect
    .poll(
      () =>
        database.query(
          "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        ),
      { timeout: 20_000 },
    )
    .toHaveLength(count)
}

test('whoever looks for ids that others have taken keeps no other commit waiting', async () => {
  const { before, cause, squatter } = await write()
  await using database = await openTestDatabase()
  const store = await openStore(database)
  await appendAll(store, [before, squatter])
  const row = await hold(
    database,
    `SELECT FROM _kora_operations WHERE id = decode('${squatter.id}', 'hex') FOR UPDATE`,
  )

  const corrected = appendAll(store, [cause])
  await waiting(database, 1)
  expect(await appendAll(store, [noteOf('b')])).toEqual(['applied'])

  await row.letGo()
  expect(await corrected).toEqual(['applied'])
  expect(await store.findRecord('tasks', 't1')).toMatchObject({ status: 'open' })
  await store.close()
}, 60_000)

test('an id that is taken while a commit waits for its numbers is yielded nevertheless', async () => {
  const { before, cause, squatter } = await write()
  await using database = await openTestDatabase()
  const store = await openStore(database)
  await appendAll(store, [before])
  const numbers = await hold(database, 'SELECT FROM _kora_counters FOR UPDATE')

  const taken = appendAll(store, [squatter])
  await waiting(database, 1)
  const corrected = appendAll(store, [cause])
  await waiting(database, 2)
  await numbers.letGo()

  expect([await taken, await corrected]).toEqual([['applied'], ['applied']])
  expect(await appendAll(store, [cause, squatter])).toEqual(['duplicate', 'ID_CONFLICT'])
  expect(await store.findRecord('tasks', 't1')).toMatchObject({ status: 'open' })
  await store.close()
}, 60_000)
