import { describe, expect, test } from 'vitest'
import type { AuthContext } from '../../../src/auth/provider.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { KoraSyncServer } from '../../../src/http/kora-sync-server.ts'
import { type ClusterBus, REVOKED_TOPIC } from '../../../src/store/cluster-bus.ts'
import { MemoryRevocations } from '../../../src/store/memory/memory-revocations.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { PollingTransport } from '../../../src/transport/polling-transport.ts'
import { MemoryTransport } from '../../support/memory-transport.ts'
import { OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

const WITHIN_MS = 2500

/** Brings what a test says in the name of another server. */
class TestBus implements ClusterBus {
  readonly serverId = 'this'
  readonly #listeners = new Map<string, (payload: string, serverId: string) => void>()

  members(): ReadonlySet<string> {
    return new Set(['other'])
  }

  publish(): boolean {
    return true
  }

  publishFrom(): void {}

  subscribe(topic: string, listener: (payload: string, serverId: string) => void): () => void {
    this.#listeners.set(topic, listener)
    return () => void this.#listeners.delete(topic)
  }

  onMembership(): () => void {
    return () => {}
  }

  bring(topic: string): void {
    this.#listeners.get(topic)?.('', 'other')
  }
}

/** Tokens are JSON of the context that they stand for. */
async function openServer() {
  const runtime = simulatedRuntime()
  const bus = new TestBus()
  const store = Object.assign(new MemoryServerStore({ nodeId: 'server', runtime }), { cluster: bus })
  const server = new KoraSyncServer({
    store,
    runtime,
    logger: silentLogger,
    auth: { authenticate: async (token) => (token === '' ? null : JSON.parse(token)) },
  })
  let nodes = 0
  const handshakeOf = (auth: AuthContext): object => ({
    type: 'handshake',
    messageId: 'h',
    nodeId: `node-${++nodes}`,
    versionVector: {},
    schemaVersion: 1,
    lastDeliverySequence: 0,
    authToken: JSON.stringify(auth),
  })
  const connect = async (auth: AuthContext): Promise<MemoryTransport> => {
    const transport = new MemoryTransport()
    server.handleConnection(transport)
    transport.receive(handshakeOf(auth))
    await settle()
    return transport
  }
  const connectPolling = async (auth: AuthContext): Promise<PollingTransport> => {
    const transport = new PollingTransport(runtime, '')
    server.handleConnection(transport)
    transport.receive({ isBinary: false, bytes: Buffer.from(JSON.stringify(handshakeOf(auth))) })
    await settle()
    return transport
  }
  return { runtime, store, server, bus, connect, connectPolling }
}

describe('a revocation', () => {
  test('ends the open sessions of its user within seconds, and no others', async () => {
    const { runtime, store, connect } = await openServer()
    const issuedAt = runtime.now()
    const [ada, alsoAda, bob] = [
      await connect({ userId: 'ada', issuedAt }),
      await connect({ userId: 'ada', issuedAt }),
      await connect({ userId: 'bob', issuedAt }),
    ]

    await store.revoke({ kind: 'user', value: 'ada' }, runtime.now())
    await runtime.advance(WITHIN_MS)

    expect(ada.closed).toMatchObject({ code: 4012 })
    expect(alsoAda.closed).toMatchObject({ code: 4012 })
    expect(bob.closed).toBeNull()
  })

  test('takes back what waits for a polling client, and tells it why', async () => {
    const { runtime, store, connectPolling } = await openServer()
    const ada = await connectPolling({ userId: 'ada', issuedAt: runtime.now() }) // it has polled nothing yet

    await store.revoke({ kind: 'user', value: 'ada' }, runtime.now())
    await runtime.advance(WITHIN_MS)

    const told = await ada.take(0, undefined)
    expect(String(told instanceof Object && told.frame.bytes)).toContain('"code":"REVOKED"')
    expect(ada.isOver).toBe(true)
  })

  test('leaves nothing of others to a polling client whose session had ended before it', async () => {
    const { runtime, store, server, connectPolling } = await openServer()
    await store.applyRemoteOperation(new OperationAuthor('bob').insert(recordIdOf('r'), { title: 'SECRET' }))
    await settle()
    const ada = await connectPolling({ userId: 'ada', issuedAt: runtime.now() }) // it has polled nothing yet
    const [session] = server.hub.sessions.values()

    session?.fail('SLOW_CONSUMER')
    await store.revoke({ kind: 'user', value: 'ada' }, runtime.now())
    await runtime.advance(WITHIN_MS)

    const told: string[] = []
    while (!ada.isOver) {
      const next = await ada.take(0, undefined)
      if (next instanceof Object) told.push(String(next.frame.bytes))
    }
    expect(told.map((text) => JSON.parse(text).type)).toEqual(['handshake-response'])
  })

  test('ends sessions also where another log counts revocations anew', async () => {
    const { runtime, store, server, connect } = await openServer()
    await store.applyRemoteOperation(new OperationAuthor('bob').insert(recordIdOf('r'), { title: 'x' }))
    const bob = await connect({ userId: 'bob', issuedAt: runtime.now() })
    await store.revoke({ kind: 'user', value: 'bob' }, runtime.now())
    await runtime.advance(WITHIN_MS)
    const revocations = new MemoryRevocations()
    store.revoke = async (...subject) => revocations.revoke(...subject)
    store.listRevocations = async (...page) => revocations.list(...page)
    store.findRevocations = async (subjects) => revocations.find(subjects)
    await store.importBackup(await new MemoryServerStore({ nodeId: 'server', runtime }).exportBackup())
    await server.hub.feed.refill()
    const ada = await connect({ userId: 'ada', issuedAt: runtime.now() })
    expect(bob.closed).toMatchObject({ code: 4012 })
    expect(ada.closed).toBeNull()

    await store.revoke({ kind: 'user', value: 'ada' }, runtime.now())
    await runtime.advance(WITHIN_MS)

    expect(ada.closed).toMatchObject({ code: 4012 })
  })

  test('of long ago ends no visitor who has come back after another log took the place of the one before', async () => {
    const { runtime, store, server, connect } = await openServer()
    const visitor = { userId: 'anon-1', isAnonymous: true }
    await store.applyRemoteOperation(new OperationAuthor('bob').insert(recordIdOf('r'), { title: 'x' }))
    await store.revoke({ kind: 'all', value: '' }, runtime.now() - 10_000)
    await connect(visitor)
    const list = store.listRevocations.bind(store)
    let failures = 0
    store.listRevocations = async (...page) => {
      if (++failures === 1) throw new Error('the database is not back yet')
      return list(...page)
    }
    await store.importBackup(await new MemoryServerStore({ nodeId: 'server', runtime }).exportBackup())
    await server.hub.feed.refill()
    expect(failures).toBe(1)
    expect(await list(0, 10)).toHaveLength(1)

    const back = await connect(visitor)
    await runtime.advance(WITHIN_MS)
    expect(failures).toBeGreaterThan(1)
    expect(back.closed).toBeNull()

    await store.revoke({ kind: 'all', value: '' }, runtime.now())
    await runtime.advance(WITHIN_MS)
    expect(back.closed).toMatchObject({ code: 4012 })
  })

  test('that another server tells of ends sessions at once', async () => {
    const { runtime, store, bus, connect } = await openServer()
    const ada = await connect({ userId: 'ada', issuedAt: runtime.now() })
    await store.revoke({ kind: 'user', value: 'ada' }, runtime.now())

    bus.bring(REVOKED_TOPIC)
    await settle()

    expect(ada.closed).toMatchObject({ code: 4012 })
  })

  test('refuses tokens from before it, and takes those from after it', async () => {
    const { runtime, store, connect } = await openServer()
    const revokedAt = runtime.now()
    await store.revoke({ kind: 'user', value: 'ada' }, revokedAt)

    const old = await connect({ userId: 'ada', issuedAt: revokedAt })
    const fresh = await connect({ userId: 'ada', issuedAt: revokedAt + 1 })
    await runtime.advance(WITHIN_MS)

    expect(old.closed).toMatchObject({ code: 1000, reason: 'authentication failed' })
    expect(fresh.closed).toBeNull()
  })

  test('of a device concerns the tokens that name it', async () => {
    const { runtime, store, connect } = await openServer()
    const issuedAt = runtime.now()
    const phone = await connect({ userId: 'ada', deviceId: 'phone', issuedAt })
    const laptop = await connect({ userId: 'ada', deviceId: 'laptop', issuedAt })

    await store.revoke({ kind: 'device', value: 'phone' }, runtime.now())
    await runtime.advance(WITHIN_MS)

    expect(phone.closed).toMatchObject({ code: 4012 })
    expect(laptop.closed).toBeNull()
    expect((await connect({ userId: 'ada', deviceId: 'phone', issuedAt })).closed).not.toBeNull()
    expect((await connect({ userId: 'ada', deviceId: 'laptop', issuedAt })).closed).toBeNull()
  })

  test('of all ends every session; visitors without a token may come back', async () => {
    const { runtime, store, connect } = await openServer()
    const visitor = { userId: 'anon-1', isAnonymous: true }
    const sessions = [await connect({ userId: 'ada', issuedAt: runtime.now() }), await connect(visitor)]

    await store.revoke({ kind: 'all', value: '' }, runtime.now())
    await runtime.advance(WITHIN_MS)

    expect(sessions.map((session) => session.closed?.code)).toEqual([4012, 4012])
    expect((await connect({ userId: 'ada', issuedAt: runtime.now() - 10_000 })).closed).not.toBeNull()
    expect((await connect({ userId: 'ada', issuedAt: runtime.now() })).closed).toBeNull()
    expect((await connect(visitor)).closed).toBeNull()
  })

  test('refuses tokens that do not say when they were issued, until it is taken back', async () => {
    const { runtime, store, connect } = await openServer()
    await store.revoke({ kind: 'user', value: 'ada' }, runtime.now())
    await runtime.advance(60_000)

    expect((await connect({ userId: 'ada' })).closed).not.toBeNull()
    await store.undoRevocation({ kind: 'user', value: 'ada' })
    expect((await connect({ userId: 'ada' })).closed).toBeNull()
  })

  test('that falls into a handshake ends its session all the same', async () => {
    const { runtime, store, connect } = await openServer()
    const issuedAt = runtime.now()
    const find = store.findRevocations.bind(store)
    let finds = 0
    store.findRevocations = async (subjects) => {
      const found = await find(subjects)
      finds++
      if (finds === 1) {
        // Between the check and the acceptance: it is revoked, and the watch has looked.
        await store.revoke({ kind: 'user', value: 'ada' }, issuedAt)
        await runtime.advance(WITHIN_MS)
      }
      return found
    }

    const ada = await connect({ userId: 'ada', issuedAt })
    for (let round = 0; round < 5; round++) await settle() // the watch has had its turn in between

    expect(ada.closed).toMatchObject({ code: 4012 })
  })
})
