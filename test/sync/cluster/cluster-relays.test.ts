import { expect, test } from 'vitest'
import type { Runtime, Timer } from '../../../src/core/runtime.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../../src/store/postgres/postgres-store.ts'
import { makeBlob } from '../../support/blobs.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'
import {
  type ConnectOptions,
  cursorAt,
  openRelayServer,
  type RelayClient,
  type RelayServer,
  user,
} from '../../support/relay-server.ts'

const ORG_A = { files: { org: 'a' }, todos: { org: 'a' } }
const WAIT = { timeout: 30_000, interval: 20 }

interface ClusterMember extends Omit<RelayServer, 'store'> {
  readonly store: PostgresServerStore
  readonly process: HoldableRuntime
  /** What other servers have told this one, by topic. */
  readonly heard: [topic: string, payload: string][]
}

/** That of a process whose database is real, and whose timers the test may hold. */
class HoldableRuntime implements Runtime {
  readonly #system = systemRuntime()
  #held: (() => void)[] | null = null
  #stoodStillMs = 0

  now = (): number => this.#system.now()
  monotonicNow = (): number => this.#system.monotonicNow() + this.#stoodStillMs
  defer = (callback: () => void): void => this.#system.defer(callback)
  uuid = (): string => this.#system.uuid()
  token = (byteLength: number): string => this.#system.token(byteLength)

  setTimer(delayMs: number, callback: () => void): Timer {
    let isCancelled = false
    const run = (): void => {
      if (isCancelled) return
      if (this.#held === null) callback()
      else this.#held.push(run)
    }
    const timer = this.#system.setTimer(delayMs, run)
    return {
      cancel: () => {
        isCancelled = true
        timer.cancel()
      },
    }
  }

  hold(): void {
    this.#held = []
  }

  /** @param stoodStillMs by which its clock has gone on meanwhile */
  release(stoodStillMs: number): void {
    const held = this.#held ?? []
    this.#held = null
    this.#stoodStillMs += stoodStillMs
    for (const run of held) run()
  }
}

/** Makes the lease of a server older, as if it had not been renewed for longer. */
async function endLease(database: TestDatabase, { store }: ClusterMember): Promise<void> {
  await database.query("UPDATE _kora_servers SET seen_at = seen_at - interval '16 s' WHERE id = $1", [
    store.cluster.serverId,
  ])
}

/** Two servers on one database that know of each other. */
async function openServers() {
  const database = await openTestDatabase()
  const open = async (): Promise<ClusterMember> => {
    const process = new HoldableRuntime()
    const { connectionString } = database
    const store = await createPostgresServerStore({ connectionString, runtime: process })
    const heard: [string, string][] = []
    for (const topic of ['presence', 'richtext', 'blob-ask']) {
      store.cluster.subscribe(topic, (payload) => heard.push([topic, payload]))
    }
    return { ...openRelayServer({ store, port: 0, host: '127.0.0.1' }), store, process, heard }
  }
  const servers = await Promise.all([open(), open()])
  for (const { store, server } of servers) {
    await server.start()
    await expect.poll(() => store.cluster.members().size, WAIT).toBe(1)
  }
  return {
    here: servers[0],
    there: servers[1],
    database,
    async [Symbol.asyncDispose]() {
      for (const { server, store } of servers) {
        await server.stop()
        await store.close()
      }
      await database[Symbol.asyncDispose]()
    },
  }
}

/** A client that has its initial data, which comes from a database. */
async function streaming(
  member: ClusterMember,
  nodeId: string,
  options: ConnectOptions = {},
): Promise<RelayClient> {
  const client = await member.connect(nodeId, { scopes: ORG_A, ...options })
  await expect.poll(() => client.sentOfType('operation-batch').length, WAIT).toBeGreaterThan(0)
  client.acknowledgeAll()
  return client
}

/** Presence is told in time, which only the test moves. */
async function until(members: readonly ClusterMember[], isSo: () => boolean): Promise<void> {
  await expect
    .poll(async () => {
      for (const { runtime } of members) await runtime.advance(100)
      return isSo()
    }, WAIT)
    .toBe(true)
}

test('what a client asks for is told to no other server, whatever it sends', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const blob = makeBlob('the content of a file')
  await here.write('todos', 'r1', { org: 'a', data: blob.ref }, { nodeId: 'anna' })
  const anna = await streaming(there, 'anna')
  const syncQueries = Array.from({ length: 200 }, (_, index) => ({
    collection: 'files',
    where: { org: `${index} ${'x'.repeat(4000)}` },
  }))
  const handshake = { syncScope: { todos: { org: 'a' }, files: {} }, syncQueries }
  const alice = await streaming(here, 'alice', { handshake })

  alice.present(cursorAt('Alice', 'todos', 'r1'))
  alice.receive({
    type: 'yjs-doc-update',
    messageId: 'y',
    collection: 'todos',
    recordId: 'r1',
    field: 'body',
    update: 'AAEC',
  })
  alice.receive({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash: blob.manifest.hash })
  await until([here, there], () => anna.peerNames.length > 0 && there.heard.length >= 3)

  expect([...anna.peers.values()]).toEqual([cursorAt('Alice', 'todos', 'r1')])
  await expect.poll(() => anna.sentOfType('yjs-doc-update').length, WAIT).toBe(1)
  await expect.poll(() => anna.sentOfType('blob-chunk-request').length, WAIT).toBe(1)
  for (const [topic, payload] of there.heard) expect([topic, payload.length < 600]).toEqual([topic, true])
  // The last two are what servers of earlier builds go by.
  const description = { nodeId: 'alice', userId: 'alice', granted: ORG_A, scope: ORG_A, subsets: [] }
  for (const topic of ['richtext', 'blob-ask']) {
    const [, payload = ''] = there.heard.find(([name]) => name === topic) ?? []
    expect(JSON.parse(payload)).toMatchObject({ peer: description })
  }
}, 90_000)

test('a server of an earlier build is understood', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  await here.write('todos', 'r1', { org: 'a' })
  const anna = await streaming(there, 'anna')
  const peer = {
    nodeId: 'alice',
    userId: 'alice',
    granted: ORG_A,
    scope: { todos: { org: 'a' } },
    subsets: [],
  }
  const message = { type: 'yjs-doc-update', messageId: 'y', collection: 'todos', recordId: 'r1' }

  here.store.cluster.publish(
    'presence',
    JSON.stringify({ authors: [{ id: 's', peer, state: cursorAt('Alice', 'todos', 'r1') }] }),
  )
  here.store.cluster.publish(
    'richtext',
    JSON.stringify({ id: 's', peer, message: { ...message, field: 'body', update: 'AAEC' } }),
  )
  await until([there], () => anna.peerNames.length > 0)

  expect([...anna.peers.values()]).toEqual([cursorAt('Alice', 'todos', 'r1')])
  await expect.poll(() => anna.sentOfType('yjs-doc-update').length, WAIT).toBe(1)
}, 90_000)

test('presence of many is told, however much there is of it', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const anna = await streaming(there, 'anna')
  const count = 180
  const authors: RelayClient[] = []
  for (let index = 0; index < count; index++) {
    authors.push(await streaming(here, `author ${index}`, { isLegacy: true })) // is sent none itself
  }

  const longName = '\u0001'.repeat(4000) // takes six bytes for each character
  for (const [index, author] of authors.entries()) author.present(user(`${index} ${longName}`))
  await until([here, there], () => anna.peers.size === count)
}, 90_000)

test('a server that was stopped and started again on its store is one server to the others', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const blob = makeBlob('the content of a file')
  await here.write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'alice' })
  const bob = await streaming(there, 'bob')
  const left = await streaming(here, 'left')
  left.present(user('left'))
  bob.present(user('bob'))
  await until([here, there], () => bob.peerNames.length > 0 && left.peerNames.length > 0)

  await here.server.stop()
  await until([there], () => bob.peerNames.length === 0)
  await here.server.start()
  const alice = await streaming(here, 'alice')

  await until([here, there], () => alice.peerNames.length > 0)
  expect(alice.peerNames).toEqual(['bob'])
  bob.receive({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash: blob.manifest.hash })
  await expect.poll(() => alice.sentOfType('blob-chunk-request').length, WAIT).toBe(1)
  alice.receive({
    type: 'blob-chunk-response',
    messageId: 'r',
    requestId: alice.sentOfType('blob-chunk-request')[0]?.requestId,
    bytes: blob.manifest.bytes.toString('base64'),
  })
  await expect.poll(() => bob.sentOfType('blob-chunk-response').length, WAIT).toBe(1)
  expect(bob.sentOfType('blob-chunk-response')[0]?.bytes).toBe(blob.manifest.bytes.toString('base64'))
}, 90_000)

test('a server that is stopped again does not hide those of another in its place', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const bob = await streaming(there, 'bob')
  await here.server.stop()
  const successor = openRelayServer({ store: here.store, port: 0, host: '127.0.0.1' })
  await successor.server.start()
  const alice = await streaming({ ...here, ...successor, store: here.store }, 'alice')
  alice.present(user('alice'))
  const news = (): string[] =>
    there.heard.flatMap(([topic, payload]) => (topic === 'presence' ? payload : []))
  await until([{ ...here, runtime: successor.runtime }, there], () => bob.peerNames.length > 0)
  const before = news().length

  await here.server.stop()
  here.store.cluster.publish('presence', JSON.stringify({ authors: [] })) // heard after what came before it
  await expect.poll(() => news().at(-1), WAIT).toBe('{"authors":[]}')

  expect(news().slice(before)).toEqual(['{"authors":[]}'])
  await successor.server.stop()
}, 90_000)

test.each([
  ['that stands still', 20_000],
  ['whose clock stands still with it', 0],
])(
  'the users of a server %s for longer than its lease are there again',
  async (_, stoodStillMs) => {
    await using servers = await openServers()
    const { here, there, database } = servers
    const [alice, bob] = [await streaming(here, 'alice'), await streaming(there, 'bob')]
    alice.present(user('alice'))
    await until([here, there], () => bob.peerNames.length > 0)
    here.process.hold()
    await endLease(database, here)
    await until([there], () => bob.peerNames.length === 0)

    here.process.release(stoodStillMs)

    await until([here, there], () => bob.peerNames.length > 0)
    expect(bob.peerNames).toEqual(['alice'])
  },
  90_000,
)

test('the users of a server that is gone to this one are shown once it is there again, and not before', async () => {
  await using servers = await openServers()
  const { here, there, database } = servers
  const [alice, bob] = [await streaming(here, 'alice'), await streaming(there, 'bob')]
  alice.present(user('alice'))
  await until([here, there], () => bob.peerNames.length > 0)
  await database.query('ALTER TABLE _kora_servers RENAME TO unreachable')
  there.process.hold()
  there.process.release(20_000) // its lease ends, and that of nobody else
  await until([there], () => bob.peerNames.length === 0)

  alice.present(user('moved'))
  const isHeard = (): boolean => there.heard.some(([, payload]) => payload.includes('moved'))
  await until([here, there], isHeard)
  expect(bob.peerNames).toEqual([])

  await database.query('ALTER TABLE unreachable RENAME TO _kora_servers')
  await until([here, there], () => bob.peerNames.length > 0)
  expect(bob.peerNames).toEqual(['moved'])
}, 90_000)
