import { describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { decodeDeltaCursor, encodeDeltaCursor } from '../../../src/protocol/delta-cursor.ts'
import { EMPTY_LOG, type HandshakeVectorQuery } from '../../../src/store/node-index.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import type { MemoryTransport } from '../../support/memory-transport.ts'
import { appendAll, OperationAuthor, recordIdOf, withId } from '../../support/operation-author.ts'
import { openRelayServer, type RelayServer } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

function operations(client: MemoryTransport): Operation[] {
  return client.sentOfType('operation-batch').flatMap((batch) => batch.operations as Operation[])
}

function acknowledge(client: MemoryTransport, messageId: string): void {
  client.receive({
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: messageId,
    lastSequenceNumber: 0,
  })
}

function acknowledgeAll(client: MemoryTransport): void {
  for (const { messageId } of client.sentOfType('operation-batch')) acknowledge(client, messageId)
}

test('an interrupted delta goes on with what was stored meanwhile, wherever it sorts', async () => {
  const { connect, store } = openRelayServer({ batchSize: 1 })
  await store.registerNode({ nodeId: 'phone', legacyPosition: 1 })
  const prompt = new OperationAuthor('prompt', 1_750_000_060_000)
  const [known, read] = ['a', 'b'].map((id) => prompt.insert(recordIdOf(id), {})) as [Operation, Operation]
  const early = new OperationAuthor('late', 1_750_000_000_000).insert(recordIdOf('c'), {})
  for (const operation of [known, read, early]) await store.applyRemoteOperation(operation)

  const client = await connect('phone', {
    isLegacy: true,
    handshake: {
      versionVector: { prompt: 2 },
      deltaCursor: encodeDeltaCursor({ lastOperationId: read.id, batchIndex: 0 }),
    },
  })

  expect(operations(client).map(({ id }) => id)).toContain(early.id)
})

test('the operations of one node come in the order of their numbers, whatever their clocks say', async () => {
  const { connect, store } = openRelayServer({ batchSize: 1 })
  const author = new OperationAuthor('server-like')
  const numbered = [30, 10, 20].map((clock, index) => {
    const timestamp = { wallTime: 1_750_000_000_000 + clock, logical: 0, nodeId: 'server-like' }
    return author.insert(recordIdOf(`${index}`), {}, { timestamp })
  })
  for (const operation of numbered) await store.applyRemoteOperation(withId(operation))

  const client = await connect('phone', { isLegacy: true })

  expect(operations(client).map(({ sequenceNumber }) => sequenceNumber)).toEqual([1, 2, 3])
})

test('what has brought a record comes before what was changed of it then, whatever the clocks say', async () => {
  const { connect, store } = openRelayServer()
  await store.trackScopeField('todos', 'tenant')
  const [q, p] = [new OperationAuthor('q'), new OperationAuthor('p')]
  const at = (nodeId: string, clock: number) => ({
    timestamp: { wallTime: 1_750_000_000_000 + clock, logical: 0, nodeId },
  })
  const moved = { tenant: 'a' }
  const previous = { previousData: { tenant: 'b' } }
  await appendAll(store, [
    q.insert(recordIdOf('r'), { title: 'old', tenant: 'b' }, at('q', 5)),
    q.insert(recordIdOf('other'), { title: 'o', tenant: 'b' }, at('q', 90)),
    q.update(recordIdOf('other'), moved, { ...previous, ...at('q', 100) }), // its snapshot has the lowest numbers
    p.update(recordIdOf('r'), moved, { ...previous, ...at('p', 10) }),
    p.update(recordIdOf('r'), { title: 'new' }, { previousData: { title: 'old' }, ...at('p', 50) }),
  ])

  const client = await connect('phone', { isLegacy: true, handshake: { syncScope: { todos: moved } } })
  acknowledgeAll(client)
  await settle()

  const ofRecord = operations(client).filter(({ recordId }) => recordId === recordIdOf('r'))
  expect(ofRecord.map(({ type, data }) => [type, data])).toEqual([
    ['insert', { title: 'old', tenant: 'a' }],
    ['update', { tenant: 'a' }],
    ['update', { title: 'new' }],
  ])
})

test('causes that form a circle end nobody', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('hostile')
  const [a, b] = ['a', 'b'].map((id) => author.insert(recordIdOf(id), {})) as [Operation, Operation]
  // What an operation depends on is no part of its id.
  await store.applyRemoteOperation({ ...a, causalDeps: [b.id] })
  await store.applyRemoteOperation({ ...b, causalDeps: [a.id] })

  const client = await connect('phone', { isLegacy: true })

  expect(client.closed).toBeNull()
  expect(operations(client).map(({ id }) => id)).toEqual([a.id, b.id])
})

test('each acknowledged batch of a delta counts, so that the next session goes on from there', async () => {
  const { connect, store } = openRelayServer({ batchSize: 1 })
  await store.registerNode({ nodeId: 'phone', legacyPosition: 1 })
  const author = new OperationAuthor('prompt')
  for (const id of ['a', 'b', 'c', 'd']) await store.applyRemoteOperation(author.insert(recordIdOf(id), {}))
  const client = await connect('phone', { isLegacy: true, handshake: { versionVector: { prompt: 4 } } })

  for (const { messageId } of client.sentOfType('operation-batch').slice(0, 2)) acknowledge(client, messageId)
  client.disconnect()

  const registration = (await store.readNodes(['phone'])).get('phone')
  expect(registration?.legacyPosition).toBe(3)
})

test('a client that has what was stored beyond a gap is sent what filled it', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const [first, late, beyond] = ['a', 'b', 'c'].map((id) => author.insert(recordIdOf(id), {})) as Operation[]
  if (!first || !late || !beyond) throw new Error('Three were made')
  await appendAll(store, [first])
  await appendAll(store, [beyond, late], { speaker: 'nobody' })

  const client = await connect('laptop', { isLegacy: true, handshake: { versionVector: { phone: 3 } } })

  expect(operations(client).map(({ id }) => id)).toContain(late.id)
})

test.each([
  { when: 'when there was something', isLogEmpty: false },
  { when: 'when the log was empty', isLogEmpty: true },
])(
  'what fills a gap reaches a client that came $when, though nothing it acknowledged was noted',
  async ({ isLogEmpty }) => {
    const { connect, store } = openRelayServer()
    const author = new OperationAuthor('phone')
    const [first, late, beyond] = ['a', 'b', 'c'].map((id) =>
      author.insert(recordIdOf(id), {}),
    ) as Operation[]
    if (!first || !late || !beyond) throw new Error('Three were made')
    if (!isLogEmpty) await appendAll(store, [first])
    await connect('laptop', { isLegacy: true })
    if (isLogEmpty) await appendAll(store, [first])
    await appendAll(store, [beyond], { speaker: 'nobody' })
    // Its connection is lost, of which the server does not know, and the gap is filled.
    await appendAll(store, [late, beyond])

    const client = await connect('laptop', { isLegacy: true, handshake: { versionVector: { phone: 3 } } })

    expect((await store.getHandshakeVector(vectorOf('phone'))).get('phone')).toBe(3)
    expect(operations(client).map(({ id }) => id)).toContain(late.id)
  },
)

test('what a client has acknowledged is noted while it is connected, so that a crash repeats little', async () => {
  const { connect, store, runtime } = openRelayServer()
  const author = new OperationAuthor('phone')
  const client = await connect('laptop', { isLegacy: true })
  const noted = async () => (await store.readNodes(['laptop'])).get('laptop')?.legacyPosition
  const deliver = async (id: string) => {
    await push(connect, [author.insert(recordIdOf(id), {})])
    for (const { messageId } of client.sentOfType('operation-batch')) acknowledge(client, messageId)
    await settle()
    return noted()
  }

  expect(await noted()).toBe(EMPTY_LOG)
  expect(await deliver('a')).toBe(1)
  await runtime.advance(10_000)
  expect(await deliver('b')).toBe(1)
  await runtime.advance(51_000)
  expect(await deliver('c')).toBe(3)
})

test('what one tab acknowledges hides nothing of what another one with other live queries has yet to get', async () => {
  const { connect, store } = openRelayServer()
  await store.trackScopeField('todos', 'list', { isGranted: true })
  const author = new OperationAuthor('phone')
  const insertInto = (list: string): Operation => author.insert(recordIdOf(list), { list })
  await push(connect, [author.insert(recordIdOf('before'), {})])
  const openTab = async (list: string, versionVector = {}): Promise<MemoryTransport> => {
    const syncQueries = [{ collection: 'todos', where: { list } }]
    const tab = await connect('laptop', { isLegacy: true, handshake: { syncQueries, versionVector } })
    acknowledgeAll(tab)
    await settle()
    return tab
  }
  const first = await openTab('a')
  const second = await openTab('b')
  second.disconnect()
  const missed = insertInto('b')
  await push(connect, [missed])
  await push(connect, [insertInto('a')])
  acknowledgeAll(first)
  first.disconnect()
  await settle()

  const again = await openTab('b', { phone: 3 })

  expect(operations(again).map(({ id }) => id)).toEqual([missed.id])
})

test('what a client acknowledges of its last session does not count in the next', async () => {
  const { connect, store, runtime } = openRelayServer()
  const author = new OperationAuthor('phone')
  const last = await connect('laptop', { isLegacy: true })
  const [old] = last.sentOfType('operation-batch')
  await runtime.advance(1000)
  await push(connect, [author.insert(recordIdOf('a'), {})])
  const client = await connect('laptop', { isLegacy: true })

  acknowledge(client, old?.messageId ?? '')
  client.disconnect()

  expect((await store.readNodes(['laptop'])).get('laptop')?.legacyPosition).toBe(EMPTY_LOG)
})

describe('an interrupted delta that comes in the order of commits hides nothing that was stored out of order', () => {
  test('where the client has acknowledged what it has', async () => {
    const { connect, store } = openRelayServer({ batchSize: 1 })
    await storeOutOfOrder(store, large('phone'))
    const client = await connect('laptop', { isLegacy: true })
    acknowledge(client, client.sentOfType('operation-batch')[0]?.messageId ?? '')
    client.disconnect()

    const again = await connect('laptop', { isLegacy: true, handshake: { versionVector: { phone: 2 } } })

    expect(await takeAll(again)).toContain('phone 1')
  })

  test('where it has acknowledged nothing', async () => {
    const { connect, store } = openRelayServer({ batchSize: 1 })
    await storeOutOfOrder(store, large('phone'))
    const client = await connect('laptop', { isLegacy: true })
    client.disconnect()

    const again = await connect('laptop', { isLegacy: true, handshake: { versionVector: { phone: 2 } } })

    expect(await takeAll(again)).toContain('phone 1')
  })

  test('where the server is gone before it has noted what was acknowledged', async () => {
    const gone = openRelayServer({ batchSize: 1 })
    const { store } = gone
    await storeOutOfOrder(store, large('phone'))
    acknowledgeAll(await gone.connect('laptop', { isLegacy: true }))

    const { connect } = openRelayServer({ batchSize: 1, store })
    const again = await connect('laptop', { isLegacy: true, handshake: { versionVector: { phone: 17 } } })

    expect(await takeAll(again)).toContain('phone 1')
  })

  test('where the log has grown since the client came first', async () => {
    const { connect, store } = openRelayServer({ batchSize: 1 })
    const author = new OperationAuthor('phone')
    await storeOutOfOrder(store, [author.insert(recordIdOf('a'), {}), author.insert(recordIdOf('b'), {})])
    for (const grow of [() => appendAll(store, large('tablet')), () => Promise.resolve()]) {
      const client = await connect('laptop', { isLegacy: true })
      client.disconnect()
      await grow()
    }

    const again = await connect('laptop', { isLegacy: true, handshake: { versionVector: { phone: 2 } } })

    expect(await takeAll(again)).toContain('phone 1')
  })

  test('where somebody has made up causes', async () => {
    const { connect, store } = openRelayServer({ batchSize: 1 })
    const [phone, hostile] = ['phone', 'hostile'].map((nodeId) => {
      const author = new OperationAuthor(nodeId)
      return ['a', 'b'].map((id) => author.insert(recordIdOf(`${nodeId} ${id}`), {}))
    }) as [Operation[], Operation[]]
    await storeOutOfOrder(store, phone)
    for (const operation of hostile) {
      const causalDeps = hostile.filter(({ id }) => id !== operation.id).map(({ id }) => id)
      await store.applyRemoteOperation({ ...operation, causalDeps })
    }
    const client = await connect('laptop', { isLegacy: true })
    client.disconnect()

    const again = await connect('laptop', { isLegacy: true, handshake: { versionVector: { phone: 2 } } })

    expect(await takeAll(again)).toContain('phone 1')
  })
})

test('what is acknowledged of a delta in the order of commits is noted once a minute, and when it is whole', async () => {
  const { connect, store, runtime } = openRelayServer({ batchSize: 1 })
  await appendAll(store, [...large('phone'), ...large('tablet')])
  const noted = async () => (await store.readNodes(['laptop'])).get('laptop')?.legacyPosition
  const client = await connect('laptop', { isLegacy: true })
  const positions = [await noted()]

  for (let taken = 0; taken < 8; taken++) {
    acknowledge(client, client.sentOfType('operation-batch')[taken]?.messageId ?? '')
    await settle()
    positions.push(await noted())
    await runtime.advance(10_000)
  }
  await takeAll(client)

  expect(positions).toEqual([...Array(7).fill(EMPTY_LOG), 7, 7])
  expect(await noted()).toBe(48)
})

test('each batch of a delta has a cursor, and the number of batches where it is known beforehand', async () => {
  const { connect, store } = openRelayServer({ batchSize: 10 })
  const author = new OperationAuthor('desk')
  await appendAll(
    store,
    Array.from({ length: 12 }, (_, index) => author.insert(recordIdOf(`${index}`), {})),
  )
  const headers = async () => {
    const client = await connect('laptop', { isLegacy: true })
    await takeAll(client)
    client.disconnect()
    return client.sentOfType('operation-batch').map((each) => ({
      batchIndex: each.batchIndex,
      totalBatches: each.totalBatches,
      isFinal: each.isFinal,
      isCursorOfLast:
        decodeDeltaCursor(each.cursor ?? '')?.lastOperationId === (each.operations.at(-1) as Operation).id,
    }))
  }

  const sorted = await headers()
  await appendAll(store, large('phone'))
  await settle()
  const streamed = await headers()

  expect(sorted).toEqual([
    { batchIndex: 0, totalBatches: 2, isFinal: false, isCursorOfLast: true },
    { batchIndex: 1, totalBatches: 2, isFinal: true, isCursorOfLast: true },
  ])
  expect(streamed.length).toBeGreaterThan(4)
  expect(streamed).toEqual(
    streamed.map((_, batchIndex) => ({
      batchIndex,
      totalBatches: undefined,
      isFinal: batchIndex === streamed.length - 1,
      isCursorOfLast: true,
    })),
  )
})

test('a client that has what was stored before a large delta is not sent that again', async () => {
  const { connect, store } = openRelayServer({ batchSize: 1 })
  await appendAll(store, [new OperationAuthor('desk').insert(recordIdOf('a'), {})])
  const first = await connect('laptop', { isLegacy: true })
  acknowledgeAll(first)
  first.disconnect()
  await appendAll(store, large('phone'))
  const client = await connect('laptop', { isLegacy: true, handshake: { versionVector: { desk: 1 } } })
  client.disconnect()

  const again = await connect('laptop', { isLegacy: true, handshake: { versionVector: { desk: 1 } } })

  expect((await takeAll(again)).slice(0, 2)).toEqual(['phone 1', 'phone 2'])
})

/** More than is sorted. */
function large(nodeId: string): Operation[] {
  const author = new OperationAuthor(nodeId)
  return Array.from({ length: 24 }, (_, index) =>
    author.insert(recordIdOf(`${nodeId} ${index}`), { title: 'x'.repeat(200_000) }),
  )
}

/** The first one last. */
async function storeOutOfOrder(store: ServerStore, [first, ...rest]: readonly Operation[]): Promise<void> {
  if (!first) throw new Error('Some were made')
  await appendAll(store, rest)
  await appendAll(store, [first])
}

/** Acknowledges until nothing more comes. @returns node and number of each, in order */
async function takeAll(client: MemoryTransport): Promise<string[]> {
  for (let sent = 0; client.sentOfType('operation-batch').length > sent; ) {
    const batches = client.sentOfType('operation-batch')
    for (const { messageId } of batches.slice(sent)) acknowledge(client, messageId)
    sent = batches.length
    await settle()
  }
  return operations(client).map(({ nodeId, sequenceNumber }) => `${nodeId} ${sequenceNumber}`)
}

async function push(connect: RelayServer['connect'], operations: readonly Operation[]): Promise<void> {
  const phone = await connect('phone')
  phone.receive({ type: 'operation-batch', messageId: 'p', operations, isFinal: true, batchIndex: 0 })
  await settle()
}

function vectorOf(nodeId: string): HandshakeVectorQuery {
  return { nodeIds: [nodeId], entry: null, userId: null, maxOthers: 0 }
}
