import { expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import type { ScopeMap } from '../../../src/core/scope.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { MemoryTransport } from '../../support/memory-transport.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { type ConnectOptions, openRelayServer } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

const RED = { todos: { team: 'red' } }
const BLUE = { todos: { team: 'blue' } }

/** Three todos of each team, in turn. */
async function openTeams() {
  const store = new MemoryServerStore({ nodeId: 'server' })
  for (const field of ['team', 'list']) await store.trackScopeField('todos', field, { isGranted: true })
  const author = new OperationAuthor('author')
  const operations = ['red', 'blue', 'red', 'blue', 'red', 'blue'].map((team, i) =>
    author.insert(recordIdOf(`${i}`), { team, list: i < 3 ? 'a' : 'b' }),
  )
  await appendAll(store, operations)
  return { ...openRelayServer({ store }), operations }
}

function received(client: MemoryTransport): string[] {
  return client
    .sentOfType('operation-batch')
    .flatMap(({ operations }) => operations.map((operation) => (operation as Operation).data?.team as string))
}

function acknowledge(client: MemoryTransport): void {
  const last = client.sentOfType('operation-batch').at(-1)
  client.receive({
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: last?.messageId ?? '',
    lastSequenceNumber: 0,
    ...(last?.maxDeliverySequence !== undefined && { deliverySequence: last.maxDeliverySequence }),
  })
}

function as(
  scopes: Exclude<ConnectOptions['scopes'], undefined>,
  userId = 'u',
  handshake: object = {},
): ConnectOptions {
  return { scopes, userId, handshake }
}

test('a grant that changed is served from the start, even if the first attempt broke off', async () => {
  const { connect } = await openTeams()
  const first = await connect('phone', as(RED))
  acknowledge(first)
  first.disconnect()
  const brokenOff = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 6 }))
  brokenOff.disconnect() // before the client saw that it is to start over

  const again = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 6 }))

  expect(again.sentOfType('handshake-response')).toMatchObject([{ serverMaxDeliverySequence: 5 }])
  expect(received(again)).toEqual(['blue', 'blue', 'blue'])
})

test('a stream that started over goes on from where the client has got', async () => {
  const { connect } = await openTeams()
  const first = await connect('phone', as(RED))
  acknowledge(first)
  first.disconnect()
  const second = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 6 }))
  acknowledge(second)
  await settle()
  second.disconnect()

  const third = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 4 }))

  expect(received(third)).toEqual(['blue'])
})

test('a node that recovers keeps the grant that its watermarks are of', async () => {
  const { connect } = await openTeams()
  acknowledge(await connect('phone', as(RED)))
  acknowledge(await connect('phone', as(RED))) // it has lost its database

  const same = await connect('phone', as(RED, 'u', { lastDeliverySequence: 6 }))
  const other = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 6 }))

  expect(received(same)).toEqual([])
  expect(received(other)).toEqual(['blue', 'blue', 'blue'])
})

test('what a client says of its last session does not count for the stream that started over', async () => {
  const { connect } = await openTeams()
  const first = await connect('phone', as(RED))
  acknowledge(first)
  first.disconnect()
  const second = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 4 }))
  second.receive({
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: 'd-4-5', // of the first session, which a poll took away late
    lastSequenceNumber: 0,
    deliverySequence: 5,
  })
  await settle()
  second.disconnect() // before the client saw that it is to start over

  const third = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 5 }))

  expect(received(third)).toEqual(['blue', 'blue', 'blue'])
})

test('what an earlier session of the node acknowledges late does not bring its grant back', async () => {
  const { connect } = await openTeams()
  acknowledge(await connect('phone', as(RED)))
  const blue = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 6 }))
  await connect('phone', as(RED, 'u', { lastDeliverySequence: 6 }))
  acknowledge(blue)
  await settle()

  const again = await connect('phone', as(BLUE, 'u', { lastDeliverySequence: 5 }))

  expect(received(again)).toEqual(['blue', 'blue', 'blue'])
})

test("another user's session on the same device cannot make the next one skip", async () => {
  const { connect } = await openTeams()
  const victim = await connect('phone', as(RED, 'victim'))
  acknowledge(victim)
  victim.disconnect()
  const mallory = await connect('phone', as(BLUE, 'mallory', { lastDeliverySequence: 6 }))
  acknowledge(mallory)
  mallory.disconnect()

  const moved = await connect('phone', as(BLUE, 'victim', { lastDeliverySequence: 6 }))

  expect(received(moved)).toEqual(['blue', 'blue', 'blue'])
})

test('a client whose restriction is lifted gets what was hidden', async () => {
  const { connect } = await openTeams()
  const restricted = await connect('phone', as(RED))
  acknowledge(restricted)
  restricted.disconnect()

  const free = await connect('phone', as(null, 'u', { lastDeliverySequence: 6 }))

  expect(received(free)).toHaveLength(6)
})

test('an unchanged grant is resumed, whatever subsets the client asks for in between', async () => {
  const { connect } = await openTeams()
  const first = await connect('phone', as(RED))
  acknowledge(first)
  first.disconnect()
  const subset = [{ collection: 'todos', where: { list: 'a' } }]
  const second = await connect('phone', as(RED, 'u', { syncQueries: subset }))
  acknowledge(second)
  second.disconnect()

  const third = await connect('phone', as(RED, 'u', { lastDeliverySequence: 6 }))

  expect(received(third)).toEqual([])
})

test('a client that is ahead of what this server has been told is not sent back to the start', async () => {
  const { connect, store } = await openTeams()
  await connect('other', as(null))
  const more = new OperationAuthor('elsewhere').insert(recordIdOf('e'), { team: 'red' })
  await appendAll(store, [more]) // by another process

  const client = await connect('phone', as(null, 'u', { lastDeliverySequence: 7 }))

  expect(client.sentOfType('handshake-response')).toMatchObject([{ serverMaxDeliverySequence: 7 }])
  expect(received(client)).toEqual([])
})

test('a client without watermark gets what a changed grant shows it, below what its vector claims', async () => {
  const { connect } = await openTeams()
  const legacy = (scopes: ScopeMap | null): ConnectOptions => ({
    scopes,
    userId: 'u',
    isLegacy: true,
    handshake: { versionVector: { author: 6 } },
  })
  const first = await connect('phone', { ...legacy(RED), handshake: {} })
  acknowledge(first)
  first.disconnect()
  await settle()
  const brokenOff = await connect('phone', legacy(BLUE))
  brokenOff.disconnect()
  await settle()
  const second = await connect('phone', legacy(BLUE))
  expect(received(second)).toEqual(['blue', 'blue', 'blue'])
  acknowledge(second)
  second.disconnect()
  await settle()

  const third = await connect('phone', legacy(BLUE))

  expect(received(third)).toEqual([])
})

test('a token that names a device speaks for that node, and for no other', async () => {
  const claims = (deviceId: string) => ({ authenticate: async () => ({ userId: deviceId, deviceId }) })
  const store = new MemoryServerStore({ nodeId: 'server' })
  const insert = new OperationAuthor('phone').insert(recordIdOf('m'), {}, { sequenceNumber: 1000 })
  const push = { type: 'operation-batch', messageId: 'b', isFinal: true, batchIndex: 0 }
  const mallory = await openRelayServer({ store, auth: claims('elsewhere') }).connect('phone')
  mallory.receive({ ...push, operations: [insert] })
  await settle()
  expect((await store.getVersionVector()).get('phone')).toBeUndefined()

  const server = openRelayServer({ store, auth: claims('phone') })
  const phone = await server.connect('phone')
  phone.receive({ ...push, operations: [insert] })
  await settle()
  const again = await server.connect('phone')

  expect(again.sentOfType('handshake-response')[0]?.versionVector).toEqual({ phone: 1000 })
})

test('what a node has sent is told only to who speaks for it', async () => {
  const { connect } = openRelayServer()
  const mallory = await connect('phone', as(null, 'mallory')) // first, with a node id that is not hers
  const forged = new OperationAuthor('phone').insert(recordIdOf('m'), {}, { sequenceNumber: 1000 })
  mallory.receive({
    type: 'operation-batch',
    messageId: 'b',
    operations: [forged],
    isFinal: true,
    batchIndex: 0,
  })
  await settle()
  mallory.disconnect()

  const victim = await connect('phone', as(null, 'victim'))

  // The victim's client sends every operation that is above what it is told here.
  expect(victim.sentOfType('handshake-response')[0]?.versionVector).not.toHaveProperty('phone')
})

const BOTH = { todos: {}, notes: {} }

/** A todo, a note that is hidden at first, and another todo; read by a client that asks for both collections. */
async function readWithoutNotes() {
  const relay = openRelayServer()
  for (const [collection, id] of [
    ['todos', 't1'],
    ['notes', 'n1'],
    ['todos', 't2'],
  ] as const) {
    await relay.write(collection, recordIdOf(id), { name: id })
  }
  const phone = await relay.connect('phone', asking({ todos: {} }, 0))
  acknowledge(phone)
  await settle()
  phone.disconnect()
  return relay
}

function asking(scopes: ScopeMap, lastDeliverySequence: number): ConnectOptions {
  return as(scopes, 'u', { syncScope: BOTH, lastDeliverySequence })
}

function names(client: MemoryTransport): unknown[] {
  return client
    .sentOfType('operation-batch')
    .flatMap(({ operations }) => operations.map((operation) => (operation as Operation).data?.name))
}

test('who is granted all that it has always asked for is sent what was hidden', async () => {
  const { connect } = await readWithoutNotes()

  const phone = await connect('phone', asking(BOTH, 3))

  expect(phone.sentOfType('handshake-response')).toMatchObject([{ acceptedScope: BOTH }])
  expect(names(phone)).toEqual(['t1', 'n1', 't2'])
})

test('who loses a right and is given it back is sent what was hidden meanwhile', async () => {
  const { connect, write } = openRelayServer()
  const first = await connect('phone', asking(BOTH, 0))
  first.disconnect()
  const meanwhile = await connect('phone', asking({ todos: {} }, 0))
  await write('notes', recordIdOf('n1'), { name: 'n1' })
  await write('todos', recordIdOf('t1'), { name: 't1' })
  acknowledge(meanwhile)
  await settle()
  meanwhile.disconnect()

  const again = await connect('phone', asking(BOTH, 2))

  expect(names(again)).toEqual(['n1', 't1'])
})

test('of a client that is always told its scope nothing is remembered', async () => {
  const { connect, store } = openRelayServer()
  const phone = await connect('phone', asking(BOTH, 0))
  phone.disconnect()
  await connect('phone', asking(BOTH, 0))

  expect((await store.readNodes(['phone'])).get('phone')?.scopeEra).toBeNull()
})

test('an older client that was restricted before a restore has what was hidden from it afterwards', async () => {
  const { connect, store, write } = openRelayServer()
  await write('notes', recordIdOf('n1'), { name: 'n1' })
  await write('todos', recordIdOf('t1'), { name: 't1' })
  const backup = await (store as MemoryServerStore).exportBackup()
  const restricted = await connect('phone', { scopes: { todos: {} }, userId: 'u', isLegacy: true })
  expect(names(restricted)).toEqual(['t1'])
  restricted.disconnect()
  await (store as MemoryServerStore).importBackup(backup)
  await settle()

  const free = await connect('phone', {
    scopes: null,
    userId: 'u',
    isLegacy: true,
    handshake: { versionVector: { writer: 2 } },
  })

  expect(names(free)).toContain('n1')
})
