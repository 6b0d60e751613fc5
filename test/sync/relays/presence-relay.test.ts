import { describe, expect, test } from 'vitest'
import { JwtAuthProvider } from '../../../src/auth/jwt-provider.ts'
import type { AuthProvider } from '../../../src/auth/provider.ts'
import type { ScopeTemplate } from '../../../src/auth/scope-templates.ts'
import { type Logger, silentLogger } from '../../../src/core/logger.ts'
import type { ScopeMap } from '../../../src/core/scope.ts'
import { createView } from '../../../src/core/view.ts'
import type { Frame } from '../../../src/protocol/frame.ts'
import type { AwarenessState, SyncMessage } from '../../../src/protocol/messages.ts'
import { encodeProtobufMessage } from '../../../src/protocol/protobuf-codec.ts'
import { authorizeClient } from '../../../src/sync/authorization.ts'
import { Audiences, type RelayPeer } from '../../../src/sync/relays/audiences.ts'
import { PresenceRelay } from '../../../src/sync/relays/presence-relay.ts'
import { RecordValuesCache } from '../../../src/sync/relays/record-values-cache.ts'
import { OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { cursorAt, openRelayServer, RelayClient, user } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'
import { SlowClient } from '../../support/slow-client.ts'

const ORG_A: ScopeMap = { todos: { org: 'a' } }
const ORG_B: ScopeMap = { todos: { org: 'b' } }

function updatesOf(client: RelayClient) {
  return client.sentOfType('awareness-update')
}

/** One that is sent frames, as by the built-in transports. */
class FramedClient extends RelayClient {
  readonly binaryFrames: Frame[] = []

  sendFrame(frame: Frame): void {
    if (frame.isBinary) this.binaryFrames.push(frame)
    else this.send(JSON.parse(Buffer.from(frame.bytes).toString()))
  }
}

function binaryFrame(message: SyncMessage): Frame {
  return { isBinary: true, bytes: encodeProtobufMessage(message) }
}

describe('identity', () => {
  test('clients that all call themselves 1 see each other, and never themselves', async () => {
    const { connect, runtime } = openRelayServer()
    const clients = [await connect('n1'), await connect('n2'), await connect('n3')]

    for (const [index, client] of clients.entries()) client.present(user(`user ${index}`))
    await runtime.advance(200)

    expect(clients.map((client) => client.peerNames)).toEqual([
      ['user 1', 'user 2'],
      ['user 0', 'user 2'],
      ['user 0', 'user 1'],
    ])
    for (const client of clients)
      for (const id of client.peers.keys()) expect(Number(id)).toBeGreaterThan(2 ** 20)
  })

  test('only the own entry of a message counts', async () => {
    const { connect, runtime } = openRelayServer()
    const [eve, bob] = [await connect('eve'), await connect('bob')]
    const victim = await connect('victim')
    victim.present(user('victim'))
    await runtime.advance(200)
    const [victimId] = [...bob.peers.keys()]

    const states = { '1': user('eve'), '2': user('forged'), [String(victimId)]: null }
    eve.receive({ type: 'awareness-update', messageId: 'p', clientId: 1, states })
    eve.receive({
      type: 'awareness-update',
      messageId: 'p',
      clientId: 7,
      states: { [String(victimId)]: user('stolen') },
    })
    await runtime.advance(200)

    expect(bob.peerNames).toEqual(['eve', 'victim'])
  })

  test('a state that cannot be read is shown to nobody, and its author stays', async () => {
    const said: object[] = []
    const logger: Logger = { ...silentLogger, debug: (...[fields]) => void said.push(fields) }
    const { connect, runtime } = openRelayServer({ logger: { ...logger, child: () => logger } })
    const [alice, bob] = [await connect('alice'), await connect('bob')]
    alice.present(user('alice'))
    await runtime.advance(200)

    alice.present(user('x'.repeat(5000)))
    alice.present({ ...user('no cursor'), cursor: { line: 1 } } as unknown as AwarenessState)
    await runtime.advance(25_000)
    expect(bob.peerNames).toEqual(['alice'])
    alice.present({ ...cursorAt('still here', 'todos', 'r1'), color: 1 } as unknown as AwarenessState)
    await runtime.advance(200)

    expect(bob.peerNames).toEqual(['still here'])
    expect(alice.closed).toBeNull()
    expect(said.filter((fields) => 'problem' in fields)).toMatchObject([
      { sessionId: expect.any(String), problem: expect.stringContaining('.user.name must be') },
      { problem: expect.stringContaining('.cursor.collection must be a string') },
    ])
  })

  test('receivers get user and cursor and nothing else', async () => {
    const { connect, runtime } = openRelayServer()
    const [alice, bob] = [await connect('alice'), await connect('bob')]

    const state = {
      ...cursorAt('alice', 'todos', 'r1', 3),
      password: 'x',
      user: { name: 'alice', color: 'red', secret: 1 },
    }
    alice.present(state)
    await runtime.advance(200)

    expect([...bob.peers.values()]).toEqual([
      {
        user: { name: 'alice', color: 'red' },
        cursor: { collection: 'todos', recordId: 'r1', field: 'title', anchor: 3, head: 3 },
      },
    ])
  })
})

describe('coming and going', () => {
  test('whoever reaches streaming is sent the present states once, without publishing', async () => {
    const { connect, runtime } = openRelayServer()
    const [alice, bob] = [await connect('alice'), await connect('bob')]
    alice.present(user('alice'))
    bob.present(user('bob'))
    await runtime.advance(200)

    const late = await connect('late')
    await runtime.advance(200)

    expect(updatesOf(late)).toHaveLength(1)
    expect(late.peerNames).toEqual(['alice', 'bob'])
  })

  test('a client that goes over to the binary form is still told, one that never wrote JSON is not', async () => {
    const { connect, runtime, server } = openRelayServer()
    const [alice, bob] = [await connect('alice'), await connect('bob')]
    const carol = new FramedClient()
    server.handleConnection(carol)
    carol.receive(
      binaryFrame({
        type: 'handshake',
        messageId: 'h',
        nodeId: 'carol',
        versionVector: {},
        schemaVersion: 1,
        authToken: JSON.stringify({ userId: 'carol', scopes: null }),
        lastDeliverySequence: 0,
      }),
    )
    await settle()
    for (const client of [bob, carol]) {
      client.receive(
        binaryFrame({
          type: 'acknowledgment',
          messageId: 'a',
          acknowledgedMessageId: client.sentOfType('operation-batch').at(-1)?.messageId ?? '',
          lastSequenceNumber: 0,
          deliverySequence: 0,
        }),
      )
    }
    await settle()

    alice.present(user('alice'))
    await runtime.advance(200)

    expect(bob.peerNames).toEqual(['alice'])
    expect(carol.binaryFrames).toHaveLength(2) // the response, and an empty batch
    expect(carol.peerNames).toEqual([])
    expect([bob.closed, carol.closed]).toEqual([null, null])
  })

  test('the others are told when one leaves, and only if it had a state', async () => {
    const { connect, runtime } = openRelayServer()
    const [alice, bob, silent] = [await connect('alice'), await connect('bob'), await connect('silent')]
    alice.present(user('alice'))
    await runtime.advance(200)
    const [aliceId] = [...bob.peers.keys()]

    silent.disconnect()
    await runtime.advance(200)
    expect(updatesOf(bob)).toHaveLength(1)
    alice.disconnect()
    await runtime.advance(200)

    expect({ ...updatesOf(bob).at(-1)?.states }).toEqual({ [String(aliceId)]: null })
  })

  test('live states are repeated in one message before clients drop them at 30 s', async () => {
    const { connect, runtime } = openRelayServer()
    const [alice, bob, watcher] = [await connect('alice'), await connect('bob'), await connect('watcher')]
    alice.present(user('alice'))
    bob.present(user('bob'))
    await runtime.advance(1000)
    const before = updatesOf(watcher).length

    await runtime.advance(20_000)

    const repeated = updatesOf(watcher).slice(before)
    expect(repeated).toHaveLength(1)
    expect(Object.keys(repeated[0]?.states ?? {})).toHaveLength(2)
    expect(Object.keys(updatesOf(alice).at(-1)?.states ?? {})).toHaveLength(1)
  })

  test('clients that may not know presence are sent none', async () => {
    const { connect, runtime } = openRelayServer()
    const legacy = await connect('old', { isLegacy: true })
    const alice = await connect('alice')

    alice.present(user('alice'))
    await runtime.advance(25_000)

    expect(legacy.closed).toBeNull()
    expect(updatesOf(legacy)).toEqual([])
  })
})

describe('who sees whom', () => {
  test('another tenant sees nothing, the own one everything', async () => {
    const { connect, runtime, write } = openRelayServer()
    await write('todos', 'r1', { org: 'a' })
    const [alice, anna] = [
      await connect('alice', { scopes: ORG_A }),
      await connect('anna', { scopes: ORG_A }),
    ]
    const bob = await connect('bob', { scopes: ORG_B })

    alice.present(cursorAt('alice', 'todos', 'r1'))
    bob.present(user('bob'))
    await runtime.advance(25_000)

    expect(anna.peerNames).toEqual(['alice'])
    expect([...anna.peers.values()][0]?.cursor).toBeDefined()
    expect(updatesOf(bob)).toEqual([])
    expect(alice.peerNames).toEqual([])
  })

  test('a wish makes nobody a member of another tenant', async () => {
    const { connect, runtime } = openRelayServer()
    const wish = { handshake: { syncScope: { projects: { team: 'x' } } } }
    const alice = await connect('alice', { scopes: { todos: { org: 'a' }, projects: { team: 'x' } } })
    const bob = await connect('bob', { scopes: { todos: { org: 'a' }, projects: { team: 'x' } }, ...wish })
    const eve = await connect('eve', { scopes: { todos: { org: 'b' }, projects: {} }, ...wish })
    const admin = await connect('admin', wish)

    alice.present(user('alice'))
    eve.present(user('eve'))
    admin.present(user('admin'))
    await runtime.advance(25_000)

    expect(alice.peerNames).toEqual([])
    expect(bob.peerNames).toEqual(['alice'])
    expect(eve.peerNames).toEqual([])
    expect(admin.peerNames).toEqual([])
  })

  test('a filter that says no more than yes or no makes nobody a member of another tenant', async () => {
    const { connect, runtime } = openRelayServer()
    const scopesOf = (org: string) => ({ todos: { org }, news: { published: true } })
    const [alice, anna] = [
      await connect('alice', { scopes: scopesOf('a') }),
      await connect('anna', { scopes: scopesOf('a') }),
    ]
    const bob = await connect('bob', { scopes: scopesOf('b') })
    const [reader, visitor] = [
      await connect('reader', { scopes: { news: { published: true } } }),
      await connect('visitor', { scopes: { news: { published: true } } }),
    ]

    for (const client of [alice, visitor]) client.present(user('somebody'))
    await runtime.advance(25_000)

    expect(anna.peerNames).toEqual(['somebody'])
    expect(bob.peerNames).toEqual([])
    expect(reader.peerNames).toEqual(['somebody']) // each other, as those who are granted nothing else
  })

  test('nor does one that the template of the scopes gives to all', async () => {
    const scopes = { todos: { org: '$claims.org' }, news: { state: 'published' } }
    const { connect, runtime } = openRelayServer({ auth: providerOf(scopes) })
    const [alice, anna, bob] = [
      await connect('alice', { userId: 'a' }),
      await connect('anna', { userId: 'a' }),
      await connect('bob', { userId: 'b' }),
    ]

    alice?.present(user('alice'))
    await runtime.advance(25_000)

    expect(anna?.peerNames).toEqual(['alice'])
    expect(bob?.peerNames).toEqual([])
  })

  test('colleagues who ask for different parts of what they are granted see each other', async () => {
    const { connect, runtime } = openRelayServer()
    const scopes = { todos: { org: 'a' }, projects: { org: 'a' } }
    const clients = [
      await connect('alice', { scopes, handshake: { syncScope: { todos: { owner: 'alice' } } } }),
      await connect('anna', { scopes, handshake: { syncScope: { projects: {} } } }),
      await connect('everything', { scopes: null }),
      await connect('a part of it', { scopes: null, handshake: { syncScope: { todos: { org: 'b' } } } }),
    ]

    for (const [index, client] of clients.entries()) client.present(user(`user ${index}`))
    await runtime.advance(200)

    expect(clients.map((client) => client.peerNames)).toEqual([
      ['user 1'],
      ['user 0'],
      ['user 3'],
      ['user 2'],
    ])
  })

  test('a colleague who may not see the record sees the user without the cursor', async () => {
    const { connect, runtime, write } = openRelayServer()
    await write('todos', 'private', { org: 'a', owner: 'alice' })
    const alice = await connect('alice', { scopes: { teams: { org: 'a' }, todos: { owner: 'alice' } } })
    const anna = await connect('anna', { scopes: { teams: { org: 'a' }, todos: { owner: 'anna' } } })

    alice.present(cursorAt('alice', 'todos', 'private'))
    await runtime.advance(200)

    expect([...anna.peers.values()]).toEqual([user('alice')])
  })

  test('who sees the record sees the cursor on it, from whichever tenant', async () => {
    const { connect, runtime, write } = openRelayServer()
    await write('todos', 'r1', { org: 'a' })
    const alice = await connect('alice', { scopes: ORG_A })
    const admin = await connect('admin')

    alice.present(user('alice'))
    await runtime.advance(200)
    expect(admin.peerNames).toEqual([])
    alice.present(cursorAt('alice', 'todos', 'r1'))
    await runtime.advance(200)
    expect(admin.peerNames).toEqual(['alice'])
    alice.present(user('alice'))
    await runtime.advance(200)

    expect(admin.peerNames).toEqual([])
  })

  test('a cursor on a record that its author may not see leads nowhere', async () => {
    const { connect, runtime, write } = openRelayServer()
    await write('todos', 'r1', { org: 'a' })
    const alice = await connect('alice', { scopes: ORG_A })
    const eve = await connect('eve', { scopes: ORG_B })

    eve.present(cursorAt('eve', 'todos', 'r1'))
    await runtime.advance(25_000)
    eve.present(cursorAt('eve', 'todos', 'missing'))
    await runtime.advance(25_000)

    expect(updatesOf(alice)).toEqual([])
  })

  test('whoever loses sight of a record is told that its visitor is gone', async () => {
    const { connect, runtime, write } = openRelayServer()
    await write('todos', 'r1', { org: 'a' })
    const [alice, admin] = [await connect('alice', { scopes: ORG_A }), await connect('admin')]
    const guest = await connect('guest', { scopes: { todos: { shared: true } } })
    await write('todos', 'r1', { shared: true }, { type: 'update', previousData: {} })
    alice.present(cursorAt('alice', 'todos', 'r1'))
    await runtime.advance(200)
    expect(guest.peerNames).toEqual(['alice'])

    await write('todos', 'r1', { shared: false }, { type: 'update', previousData: { shared: true } })
    await runtime.advance(21_000)

    expect(guest.peerNames).toEqual([])
    expect(admin.peerNames).toEqual(['alice'])
  })

  test('whoever comes before it is known who may see the record is not shown the cursor on it', async () => {
    const { connect, runtime, store, write } = openRelayServer()
    await write('todos', 'shared', { org: 'a', owner: 'anna' })
    await write('todos', 'private', { org: 'a', owner: 'alice' })
    const alice = await connect('alice', { scopes: { teams: { org: 'a' }, todos: { org: 'a' } } })
    const scopes = { teams: { org: 'a' }, todos: { owner: 'anna' } }
    const anna = await connect('anna', { scopes })
    alice.present(cursorAt('alice', 'todos', 'shared'))
    await runtime.advance(200)
    expect([...anna.peers.values()]).toEqual([cursorAt('alice', 'todos', 'shared')])

    store.readRecordValues = () => new Promise(() => {})
    alice.present(cursorAt('alice', 'todos', 'private'))
    const tablet = await connect('tablet of anna', { scopes })
    await runtime.advance(200)

    expect([...tablet.peers.values()]).toEqual([cursorAt('alice', 'todos', 'shared')])
  })

  test('presence goes on while the store does not answer, without what cannot be decided', async () => {
    const { connect, runtime, store, write } = openRelayServer()
    await write('todos', 'r1', { org: 'a' })
    const [alice, anna] = [
      await connect('alice', { scopes: ORG_A }),
      await connect('anna', { scopes: ORG_A }),
    ]
    store.readRecordValues = () => Promise.reject(new Error('the disk is gone'))

    alice.present(cursorAt('alice', 'todos', 'r1'))
    await runtime.advance(500)

    expect([...anna.peers.values()]).toEqual([user('alice')])
  })
})

describe('many views', () => {
  test('what is kept grows with the authors, and not with the views that they are shown in', async () => {
    const { relay, comeWithView, runtime, write } = openRelay()
    const count = 50
    for (let index = 0; index < count; index++) await write('todos', `r${index}`, { userId: `u${index}` })
    const watchers = Array.from({ length: count }, (_, index) => comeWithView(`watcher ${index}`, index))
    const authors = Array.from({ length: count }, (_, index) => comeWithView(`author ${index}`, index))

    for (const [index, { peer }] of authors.entries()) {
      const state = cursorAt(`author ${index}`, 'todos', `r${index}`)
      relay.receive(peer, { type: 'awareness-update', messageId: 'p', clientId: 1, states: { 1: state } })
    }
    await runtime.advance(1000)

    expect(relay.entryCount).toBe(2 * count) // the user for all, and the cursor for the view that shows its record
    for (const [index, { frames }] of watchers.entries()) {
      const states = Object.values(statesOf(frames)) as AwarenessState[]
      expect(states).toHaveLength(count)
      expect(states.filter(({ cursor }) => cursor !== undefined).map(({ user }) => user.name)).toEqual([
        `author ${index}`,
      ])
    }
    for (const { peer } of authors) relay.onClosed(peer, null)
    await runtime.advance(1000)
    expect(relay.entryCount).toBe(0)
  })

  test('all views of a tenant are sent the same frame, whatever else their members are granted', async () => {
    const { relay, comeWithView, runtime } = openRelay()
    const watchers = Array.from({ length: 50 }, (_, index) => {
      const granted = index % 2 === 0 ? { teams: { org: 'a' }, todos: { userId: `u${index}` } } : undefined
      return comeWithView(`watcher ${index}`, index, granted ?? { teams: { org: 'a' } })
    })
    const author = comeWithView('author', 2, { teams: { org: 'a' }, todos: { userId: 'u2' } })
    await runtime.advance(1000)

    const states = { 1: user('author') }
    relay.receive(author.peer, { type: 'awareness-update', messageId: 'p', clientId: 1, states })
    await runtime.advance(200)

    expect(new Set(watchers.map(({ frames }) => frames.at(-1))).size).toBe(1)
    expect(Object.values(statesOf(watchers[0]?.frames ?? []))).toEqual([user('author')])
    expect(author.frames).toEqual([])
  })
})

describe('floods', () => {
  test('a thousand updates a second reach each listener ten times a second, the newest last', async () => {
    const { connect, runtime } = openRelayServer()
    const alice = await connect('alice')
    const listeners = []
    for (let index = 0; index < 20; index++) listeners.push(await connect(`listener ${index}`))
    await runtime.advance(1000)

    for (let update = 0; update < 1000; update++) {
      alice.present(cursorAt('alice', 'todos', 'r1', update))
      await runtime.advance(1)
    }
    await runtime.advance(200)

    for (const listener of listeners) {
      expect(updatesOf(listener).length).toBeLessThanOrEqual(12)
      expect([...listener.peers.values()][0]?.cursor?.anchor).toBe(999)
    }
    expect(alice.closed).toBeNull()
  })

  test('a listener with a full buffer misses updates and then gets the newest, departures included', async () => {
    const { connect, runtime } = openRelayServer()
    const [alice, carol, slow] = [await connect('alice'), await connect('carol'), await connect('slow')]
    alice.present(cursorAt('alice', 'todos', 'r1', 1))
    carol.present(user('carol'))
    await runtime.advance(200)
    const before = updatesOf(slow).length

    slow.bufferedBytes = 100 * 1024 * 1024
    alice.present(cursorAt('alice', 'todos', 'r1', 2))
    carol.disconnect()
    await runtime.advance(1000)
    alice.present(cursorAt('alice', 'todos', 'r1', 3))
    await runtime.advance(1000)
    expect(updatesOf(slow)).toHaveLength(before)
    slow.bufferedBytes = 0
    await runtime.advance(200)

    expect(updatesOf(slow)).toHaveLength(before + 1)
    expect(slow.peerNames).toEqual(['alice'])
    expect([...slow.peers.values()][0]?.cursor?.anchor).toBe(3)
  })

  test('a listener on a slow network is told the newest, and of its own writes in time', async () => {
    const { connect, runtime } = openRelayServer()
    const slow = new SlowClient(runtime, 100_000)
    await connect('slow', { client: slow })
    const authors = await Promise.all(Array.from({ length: 50 }, (_, n) => connect(`author ${n}`)))
    slow.acknowledgeAll()
    const startedAt = runtime.monotonicNow()
    const moveUntil = async (ms: number): Promise<void> => {
      for (let at = runtime.monotonicNow() - startedAt; at < ms; at += 100) {
        for (const author of authors) author.present(cursorAt('x'.repeat(200), 'todos', 'r1', at))
        await runtime.advance(100)
      }
    }
    await moveUntil(60_000)

    const operations = [new OperationAuthor('slow').insert(recordIdOf('written'), {})]
    slow.receive({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
    await moveUntil(62_000)

    expect(slow.closed).toBeNull()
    expect(slow.arrived.filter(({ type }) => type === 'acknowledgment')).toHaveLength(1)
    const newest = slow.arrived.findLast((message) => message.type === 'awareness-update')
    const cursors = Object.values(newest?.states ?? {}).map((state) => state?.cursor)
    expect(cursors).toHaveLength(50)
    for (const cursor of cursors) expect(cursor?.anchor).toBeGreaterThan(60_000)
  })

  test('who has all of a large room to read is told of changes, and not of everything anew', async () => {
    const { connect, runtime } = openRelayServer()
    const authors = await Promise.all(Array.from({ length: 1000 }, (_, n) => connect(`author ${n}`)))
    for (const author of authors) author.present(user('x'.repeat(300)))
    await runtime.advance(1000)
    const slow = await connect('slow', { client: new SlowClient(runtime, 50_000) })
    for (let moved = 0; moved < 10_000; moved += 100) {
      authors[0]?.present(cursorAt('moving', 'todos', 'r1', moved))
      await runtime.advance(100)
    }

    const large = updatesOf(slow).filter(({ states }) => Object.keys(states).length > 10)
    expect(large).toHaveLength(1)
    expect(slow.bufferedBytes).toBe(0)
  })

  test('nothing is left when everybody has gone', async () => {
    const { connect, runtime, server } = openRelayServer()
    const [alice, bob] = [await connect('alice', { scopes: ORG_A }), await connect('bob', { scopes: ORG_B })]
    alice.present(user('alice'))
    bob.present(user('bob'))
    alice.disconnect()
    bob.disconnect()
    await settle()

    await server.stop()
    await runtime.advance(60_000)

    expect(updatesOf(alice)).toEqual([])
  })
})

interface Listener {
  readonly peer: RelayPeer
  readonly frames: Frame[]
}

/** The relay alone, to see what it keeps and which of its frames are the same. */
function openRelay() {
  const { store, runtime, write } = openRelayServer()
  const audiences = new Audiences()
  const records = new RecordValuesCache(store, runtime)
  const relay = new PresenceRelay(audiences, records, { store, runtime, logger: silentLogger })
  const comeWithView = (id: string, index: number, granted: ScopeMap = { todos: {} }): Listener => {
    const auth = { userId: id, scopes: granted }
    const view = createView({ todos: { userId: `u${index}` } })
    const node = { nodeId: id, userId: id, scopeEra: null, legacyPosition: 0 }
    const access = authorizeClient({ auth, view, node }, { store, isOpen: false })
    const frames: Frame[] = []
    const peer: RelayPeer = {
      id,
      state: 'streaming',
      readsJson: true,
      identity: { nodeId: id, auth, access, hasWatermark: true, owed: { above: 0, through: 0 } },
      isAccepted: true,
      bufferedBytes: 0,
      canSend: () => true,
      nextMessageId: () => '',
      send: () => {},
      sendShared: (frame) => frames.push(frame) > 0,
    }
    audiences.join(peer)
    relay.onStreaming(peer)
    return { peer, frames }
  }
  return { relay, comeWithView, runtime, write }
}

/** What a listener knows after all of its frames. */
function statesOf(frames: readonly Frame[]): { [id: string]: unknown } {
  return Object.assign({}, ...frames.map(({ bytes }) => JSON.parse(Buffer.from(bytes).toString()).states))
}

/** Takes any token, and its user for the organisation. */
function providerOf(scopes: ScopeTemplate): AuthProvider {
  const verify = async (token: string) => {
    const { userId } = JSON.parse(token) as { userId: string }
    return {
      isAccepted: true as const,
      claims: { sub: userId, org: userId },
      endsAt: Number.POSITIVE_INFINITY,
    }
  }
  return new JwtAuthProvider({ verifier: { verify }, scopes })
}
