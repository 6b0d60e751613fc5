import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { createWriteAccess } from '../../src/core/write-access.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../src/store/postgres/postgres-store.ts'
import { endConnections, loseAfter, loseTracking } from '../support/lost-end.ts'
import type { MemoryTransport } from '../support/memory-transport.ts'
import { recordIdOf } from '../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { type ConnectOptions, openRelayServer, type RelayServer } from '../support/relay-server.ts'

const RESTORE_GAP = 1_000_000_000
const WAIT = { timeout: 30_000, interval: 20 }

interface Member extends Omit<RelayServer, 'store'>, AsyncDisposable {
  readonly store: PostgresServerStore
}

/** A server that looks at the log only once a client comes. */
async function openMember({ connectionString }: TestDatabase): Promise<Member> {
  const store = await createPostgresServerStore({ connectionString, pollIntervalMs: 20 })
  const relay = openRelayServer({ store })
  return {
    ...relay,
    store,
    async [Symbol.asyncDispose]() {
      await relay.server.stop()
      await store.close()
    },
  }
}

/** By the application: its operations are numbered by the database, the lost ones like those in their place. */
async function write({ store }: Member, title: string): Promise<void> {
  await store.append([
    {
      author: 'server',
      access: createWriteAccess(null, 'owner'),
      type: 'insert',
      collection: 'todos',
      recordId: recordIdOf(title),
      data: { title },
      schemaVersion: 1,
    },
  ])
}

/** A client that has its initial data, which comes from a database. */
async function streaming(member: Member, nodeId: string, options?: ConnectOptions): Promise<MemoryTransport> {
  const client = await member.connect(nodeId, options)
  await expect.poll(() => client.sentOfType('operation-batch').at(-1)?.isFinal, WAIT).toBe(true)
  return client
}

function from(lastDeliverySequence: number): ConnectOptions {
  return { handshake: { lastDeliverySequence } }
}

function titles(client: MemoryTransport): unknown[] {
  const operations = client.sentOfType('operation-batch').flatMap((batch) => batch.operations as Operation[])
  return operations.map(({ data }) => data?.title)
}

/** What was read of the log is lost, all but the first, and others are written there by a server that knows nothing of it. */
async function failOver(readBefore: (member: Member) => Promise<void>) {
  const database = await openTestDatabase()
  const knowing = await openMember(database)
  for (const title of ['one', 'lost']) await write(knowing, title)
  {
    await using before = await openMember(database)
    await readBefore(before)
  }
  await loseAfter(database, 1)
  await database.query('UPDATE _kora_counters SET server_sequence = 1')
  const unknowing = await openMember(database)
  for (const title of ['two', 'three']) await write(unknowing, title)
  return {
    knowing,
    unknowing,
    async notice(): Promise<void> {
      await endConnections(database)
      await expect
        .poll(() => knowing.store.getMaxDeliverySequence().catch(() => 0), WAIT)
        .toBeGreaterThan(RESTORE_GAP)
    },
    async [Symbol.asyncDispose]() {
      for (const member of [knowing, unknowing]) await member[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
}

test('a client gets what was written in the place of what it has read, once the loss is noticed', async () => {
  await using failover = await failOver(async (member) => {
    expect(titles(await streaming(member, 'phone'))).toEqual(['one', 'lost'])
  })
  const { knowing, unknowing } = failover
  const unnoticed = await streaming(unknowing, 'phone', from(2))
  expect(titles(unnoticed)).toEqual(['three'])
  await failover.notice()
  await expect.poll(() => unnoticed.closed, WAIT).not.toBeNull()

  const client = await streaming(unknowing, 'phone', from(3))
  expect(client.sentOfType('handshake-response')).toMatchObject([{ serverMaxDeliverySequence: 2 }])
  expect(titles(client)).toEqual(['one', 'two', 'three'])
  expect(titles(await streaming(knowing, 'phone', from(3)))).toEqual(['one', 'two', 'three'])
})

test('a client that was sent back goes on from where it has got', async () => {
  await using failover = await failOver(async (member) => {
    await streaming(member, 'phone')
  })
  const { knowing, unknowing } = failover
  await failover.notice()
  const registered = async () => (await knowing.store.readNodes(['phone'])).get('phone')?.scopeEra
  const client = await streaming(knowing, 'phone', from(2))
  const before = await registered()
  client.acknowledgeAll()
  await expect.poll(registered, WAIT).not.toBe(before)

  expect(titles(await streaming(unknowing, 'phone', from(1)))).toEqual(['two', 'three'])
})

test('a client that comes for the first time after the loss is not sent back', async () => {
  await using failover = await failOver(async () => {})
  await failover.notice()
  await streaming(failover.knowing, 'phone')

  expect(titles(await streaming(failover.unknowing, 'phone', from(1)))).toEqual(['two', 'three'])
})

test('a client without watermark gets what was written in the place of what it has', async () => {
  let serverNode = ''
  await using failover = await failOver(async (member) => {
    serverNode = member.store.getNodeId()
    const client = await streaming(member, 'phone', { isLegacy: true })
    client.acknowledgeAll()
  })
  await failover.notice()

  const client = await streaming(failover.unknowing, 'phone', {
    isLegacy: true,
    handshake: { versionVector: { [serverNode]: 2 } },
  })

  expect(titles(client)).toEqual(['one', 'two', 'three'])
})

test('a client that reads by a field which the replica does not know comes back for it, and misses nothing', async () => {
  await using database = await openTestDatabase()
  await using knowing = await openMember(database)
  await write(knowing, 'one')
  const syncQueries = [{ collection: 'todos', where: { title: 'two' } }]
  const before = await streaming(knowing, 'phone', { handshake: { syncQueries } })

  await loseTracking(database)
  await using unknowing = await openMember(database)
  await write(unknowing, 'two')
  await expect.poll(() => before.closed, WAIT).not.toBeNull()

  const client = await streaming(knowing, 'phone', { handshake: { syncQueries, lastDeliverySequence: 1 } })
  expect(titles(client)).toEqual(['two'])
})
