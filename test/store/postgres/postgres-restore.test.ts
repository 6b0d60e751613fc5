import pg from 'pg'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { SERVER_ITSELF } from '../../../src/core/write-access.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import type { ServerStore, ServerWrite } from '../../../src/store/store.ts'
import { sessionIsEnded, withSettings } from '../../support/ended-session.ts'
import { OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

const SERVER_WRITE: Omit<ServerWrite, 'recordId'> = {
  author: 'server',
  access: SERVER_ITSELF,
  type: 'insert',
  collection: 'todos',
  data: { title: 'x' },
  schemaVersion: 1,
}

async function waitingIn(database: TestDatabase): Promise<number> {
  const [row] = await database.query(
    "SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
  )
  return row?.count as number
}

test('a restore does without the table of a removed collection that somebody has dropped', async () => {
  await using database = await openTestDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  const [todos, notes] = [{ fields: { title: t.string() } }, { fields: { text: t.string() } }]
  await store.setSchema(defineSchema({ version: 1, collections: { todos, notes } }))
  await store.setSchema(defineSchema({ version: 2, collections: { todos } }))
  await database.query('DROP TABLE notes')

  await store.importBackup(await store.exportBackup())

  expect(await store.countCollection('todos')).toBe(0)
  await store.close()
})

test('what another server has planned by the old log is planned again once that is replaced', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const [restoring, other] = await Promise.all([
    createPostgresServerStore({ connectionString }),
    createPostgresServerStore({ connectionString }),
  ])
  const fields = { email: t.string() }
  const unique = { type: 'unique', fields: ['email'], onConflict: 'first-write-wins' } as const
  const schema = defineSchema({ version: 1, collections: { todos: { fields, constraints: [unique] } } })
  for (const store of [restoring, other]) await store.setSchema(schema)
  const insert = (node: string) =>
    requestOf(new OperationAuthor(node).insert(node, { email: 'ada@example.com' }))

  const restore = await restoring.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
  await restore.addOperations([insert('restored')])
  const appending = other.append([insert('late')])
  await expect.poll(() => waitingIn(database)).toBe(1)
  await restore.commit()

  expect(await appending).toMatchObject([{ status: 'refused' }])
  expect(await other.queryCollection('todos')).toMatchObject([{ id: 'restored' }])
  await restoring.close()
  await other.close()
})

test('a log that has replaced another is told of before its settings are in force', async () => {
  await using database = await openTestDatabase()
  const open = () => createPostgresServerStore({ connectionString: database.connectionString })
  const [restoring, other] = await Promise.all([open(), open()])
  const author = new OperationAuthor('a')
  const insert = (name: string) => requestOf(author.insert(name, { title: name, userId: 'u' }))
  await restoring.append([insert('r1')])
  const backup = await restoring.exportBackup()
  await restoring.append([insert('r2'), insert('r3')])
  await other.getMaxDeliverySequence()
  const node = restoring.getNodeId()
  const heard: unknown[] = []
  for (const store of [restoring, other]) {
    // Whoever listens refuses what waits: it is of another log, and by settings of this one it would be stored.
    store.onLogReplaced(() => heard.push([store === other, store.getNodeId()]))
  }

  await restoring.importBackup(backup)
  expect(heard).toEqual([[false, node]])
  await other.trackScopeField('todos', 'userId') // reads the settings again

  expect(heard).toEqual([
    [false, node],
    [true, node],
  ])
  expect(other.getNodeId()).not.toBe(node)
  await restoring.close()
  await other.close()
})

test('a restore that loses against a write before anything is restored begins again', async () => {
  await using database = await openTestDatabase()
  const withTimeout = (timeout: string) =>
    `${database.connectionString}?options=${encodeURIComponent(`-c deadlock_timeout=${timeout}`)}`
  const store = await createPostgresServerStore({ connectionString: withTimeout('3s') })
  await store.append([requestOf(new OperationAuthor('a').insert('r1', { title: 'before' }))])
  const writer = new pg.Client({ connectionString: withTimeout('1h') })
  await writer.connect()

  await writer.query('BEGIN')
  await writer.query('SELECT FROM _kora_records FOR NO KEY UPDATE') // as every append locks what it writes to
  const opening = store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
  await expect.poll(() => waitingIn(database)).toBe(1)
  await writer.query('UPDATE _kora_counters SET epoch = epoch') // each waits for the other: who first gives up, loses
  await writer.query('COMMIT')
  const restore = await opening
  await restore.addOperations([requestOf(new OperationAuthor('b').insert('r2', { title: 'restored' }))])
  await restore.commit()

  const { entries } = await store.readLog(0, 10, 1e6)
  expect(entries.map(({ recordId }) => recordId)).toEqual(['r2'])
  await writer.end()
  await store.close()
})

test('a server beside a restore goes on under the node that this has given it, and so does the next one', async () => {
  await using database = await openTestDatabase()
  const open = () => createPostgresServerStore({ connectionString: database.connectionString })
  const [restoring, server] = await Promise.all([open(), open()])
  const write = async (store: ServerStore, recordId: string) => {
    const [result] = await store.append([{ ...SERVER_WRITE, recordId }])
    return result?.status === 'applied' ? result.entries[0] : null
  }
  const first = await write(server, 'r1')

  await restoring.importBackup(await restoring.exportBackup())

  const node = restoring.getNodeId()
  expect(node).not.toBe(first?.nodeId)
  const second = await write(server, 'r2').catch(() => write(server, 'r2')) // told to send it again, if it is the first
  expect(second).toMatchObject({ nodeId: node, sequenceNumber: 1 })
  expect(await write(restoring, 'r3')).toMatchObject({ nodeId: node, sequenceNumber: 2 })
  const next = await open()
  expect(await write(next, 'r4')).toMatchObject({ nodeId: node, sequenceNumber: 3 })
  for (const store of [restoring, server, next]) {
    expect([...store.getFormerNodeIds()]).toEqual([first?.nodeId])
  }
  const found: unknown[] = []
  await next.findDamage({ onDamage: (damage) => found.push(damage) })
  expect(found).toEqual([])
  for (const store of [restoring, server, next]) await store.close()
})

test('a backup names the node of the log that it holds, though another server has just replaced that', async () => {
  await using database = await openTestDatabase()
  const open = () => createPostgresServerStore({ connectionString: database.connectionString })
  const [restoring, server] = await Promise.all([open(), open()])
  const former = server.getNodeId()
  await restoring.importBackup(await restoring.exportBackup())

  const [header] = Buffer.from(await server.exportBackup())
    .toString('latin1')
    .split('\n')

  expect(JSON.parse(header ?? '')).toMatchObject({
    nodeId: restoring.getNodeId(),
    formerNodeIds: [former],
  })
  for (const store of [restoring, server]) await store.close()
})

test('a node id that the application has chosen goes on with its numbers, whoever restores', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const server = await createPostgresServerStore({ connectionString, nodeId: 'chosen' })
  const restoring = await createPostgresServerStore({ connectionString })
  const write = async (recordId: string) => {
    const results = await server.append([{ ...SERVER_WRITE, recordId }])
    return results.flatMap((result) => (result.status === 'applied' ? result.entries : []))
  }
  const backup = await server.exportBackup()
  await write('r1')
  await write('r2')

  await restoring.importBackup(backup)
  await restoring.importBackup(backup)

  const written = await write('r3').catch(() => write('r3')) // told to send it again, if it is the first
  expect(written).toMatchObject([{ nodeId: 'chosen', sequenceNumber: 3 }])
  for (const store of [restoring, server]) await store.close()
})

test('a node id that was once chosen goes on with its numbers also where it is chosen no more', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const write = async (store: ServerStore, recordId: string) => {
    const results = await store.append([{ ...SERVER_WRITE, recordId }])
    return results.flatMap((result) => (result.status === 'applied' ? result.entries : []))
  }
  const choosing = await createPostgresServerStore({ connectionString, nodeId: 'chosen' })
  const backup = await choosing.exportBackup()
  await write(choosing, 'r1')
  await write(choosing, 'r2')
  await choosing.importBackup(backup)
  await choosing.close()

  const store = await createPostgresServerStore({ connectionString })
  expect(await write(store, 'r3')).toMatchObject([{ nodeId: 'chosen', sequenceNumber: 3 }])
  await store.importBackup(backup)
  expect(await write(store, 'r4')).toMatchObject([{ nodeId: store.getNodeId(), sequenceNumber: 1 }])
  await store.close()
})

test('a restore in place of everything outlives the transaction_timeout of role or database', async () => {
  await using database = await openTestDatabase()
  const connectionString = withSettings(database.connectionString, { transaction_timeout: '1000' })
  const store = await createPostgresServerStore({ connectionString })

  const restore = await store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
  await restore.addOperations([requestOf(new OperationAuthor('a').insert('r1', { title: 'restored' }))])
  await sessionIsEnded(connectionString)
  await restore.commit()

  expect(await store.getOperationCount()).toBe(1)
  await store.close()
})
