import { describe, expect, test } from 'vitest'
import { StoreError } from '../../../src/core/errors.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import type { Operation } from '../../../src/core/operation.ts'
import { encodeFrame } from '../../../src/protocol/codec.ts'
import type { Frame } from '../../../src/protocol/frame.ts'
import type { SyncMessage } from '../../../src/protocol/messages.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { DeliveryPage, DeliveryQuery } from '../../../src/store/store.ts'
import { MemoryTransport } from '../../support/memory-transport.ts'
import { OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { openRelayServer, RelayClient, type RelayServer } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

function deliveries(client: MemoryTransport) {
  return client.sentOfType('operation-batch')
}

function operationIds(client: MemoryTransport): string[] {
  return deliveries(client).flatMap((batch) =>
    batch.operations.map((operation) => (operation as Operation).id),
  )
}

function acknowledge(client: MemoryTransport, deliverySequence: number): void {
  client.receive({
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: 'd',
    lastSequenceNumber: 0,
    deliverySequence,
  })
}

function batch(operations: readonly Operation[], messageId = 'b'): object {
  return { type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 }
}

async function storeAll(store: MemoryServerStore, operations: readonly Operation[]): Promise<void> {
  for (const operation of operations) await store.applyRemoteOperation(operation)
  await settle()
}

function inserts(author: OperationAuthor, count: number, data = {}, collection = 'todos'): Operation[] {
  return Array.from({ length: count }, (_, i) =>
    author.insert(recordIdOf(`${author.nodeId} ${i}`), { title: `${i}`, ...data }, { collection }),
  )
}

test('a client that was cut off while it got its own history back gets the rest of it', async () => {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  const own = inserts(new OperationAuthor('phone'), 6)
  await storeAll(store, own)

  const client = await connect('phone', {
    handshake: { lastDeliverySequence: 3, versionVector: { phone: 3 } },
  })

  expect(operationIds(client)).toEqual(own.slice(3).map(({ id }) => id))
})

/** A client that was here before and has lost its database: it is sent all of these, and cut off. */
async function connectedAnew(own: readonly Operation[]) {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  await store.registerNode({ nodeId: 'phone' })
  await storeAll(store, own)
  await connect('phone')
  /** It comes back with what it has acknowledged until then. */
  const comeBack = (lastDeliverySequence: number, number: number): Promise<MemoryTransport> =>
    connect('phone', { handshake: { lastDeliverySequence, versionVector: { phone: number } } })
  return { store, comeBack }
}

test('nor does it lack what was committed after operations of its own with higher numbers', async () => {
  const own = inserts(new OperationAuthor('phone'), 6)
  const { comeBack } = await connectedAnew([...own.slice(4), ...own.slice(0, 4)])

  expect(operationIds(await comeBack(2, 6))).toEqual(own.slice(0, 4).map(({ id }) => id))
  expect(operationIds(await comeBack(4, 6))).toEqual(own.slice(2, 4).map(({ id }) => id))
})

test('nor what bears the numbers of that which it has written anew', async () => {
  const own = inserts(new OperationAuthor('phone'), 4)
  const { comeBack } = await connectedAnew(own)

  expect(operationIds(await comeBack(2, 3))).toEqual(own.slice(2).map(({ id }) => id))
})

test('a client that has got its own history back is sent nothing of it again', async () => {
  const author = new OperationAuthor('phone')
  const { store, comeBack } = await connectedAnew(inserts(author, 4))
  await storeAll(store, [author.insert(recordIdOf('later'), {})])

  expect(operationIds(await comeBack(4, 5))).toEqual([])
})

test('a client that has its own operations is not sent them again', async () => {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  await storeAll(store, inserts(new OperationAuthor('phone'), 6))

  const client = await connect('phone', {
    handshake: { lastDeliverySequence: 3, versionVector: { phone: 9 } },
  })

  expect(operationIds(client)).toEqual([])
})

test('sends a client its own history again when it did not acknowledge it', async () => {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect, runtime } = openRelayServer({ store })
  const own = inserts(new OperationAuthor('phone'), 3)
  await storeAll(store, own)
  const client = await connect('phone')
  client.sent.length = 0

  await runtime.advance(16_000)

  expect(operationIds(client)).toEqual(own.map(({ id }) => id))
})

test('who acknowledges more than it was sent is sent what it has not acknowledged, and what comes then', async () => {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect, runtime } = openRelayServer({ store })
  const [first, ...later] = inserts(new OperationAuthor('writer'), 4)
  await storeAll(store, [first as Operation])
  const [client, writer] = [await connect('reader'), await connect('writer')]
  client.sent.length = 0

  for (const beyond of [2, 1_000_000, Number.MAX_SAFE_INTEGER]) acknowledge(client, beyond)
  writer.receive(batch(later))
  await settle()
  const live = operationIds(client)
  client.sent.length = 0
  await runtime.advance(16_000)

  expect(live).toEqual(later.map(({ id }) => id))
  expect(operationIds(client)).toEqual([first as Operation, ...later].map(({ id }) => id))
})

test('sends again in the batches that were sent, of which the client may have some by now', async () => {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect, runtime } = openRelayServer({ store })
  const reader = await connect('reader')
  const writer = await connect('writer')
  acknowledge(reader, 0)
  await settle()
  reader.sent.length = 0
  const positions = () =>
    deliveries(reader).map(({ baseDeliverySequence, maxDeliverySequence }) => [
      baseDeliverySequence,
      maxDeliverySequence,
    ])
  for (const [index, operation] of inserts(new OperationAuthor('writer'), 3).entries()) {
    writer.receive(batch([operation], `b${index}`))
    await settle()
  }
  const sent = positions()
  reader.sent.length = 0

  await runtime.advance(16_000)

  expect(sent).toEqual([
    [0, 1],
    [1, 2],
    [2, 3],
  ])
  expect(positions()).toEqual(sent)
})

describe('of the initial stream, sent again', () => {
  const batches = (client: MemoryTransport) =>
    deliveries(client).map(
      ({ baseDeliverySequence, maxDeliverySequence, batchIndex, isFinal, operations }) => ({
        range: [baseDeliverySequence, maxDeliverySequence],
        batchIndex,
        isFinal,
        operations: operations.length,
      }),
    )

  test('only the last batch is final', async () => {
    const store = new MemoryServerStore({ nodeId: 'server' })
    const { connect, runtime } = openRelayServer({ store, batchSize: 2 })
    await storeAll(store, inserts(new OperationAuthor('writer'), 6))
    const client = await connect('reader')
    const sent = batches(client)
    client.sent.length = 0

    await runtime.advance(16_000)

    expect(sent).toEqual([
      { range: [0, 2], batchIndex: 0, isFinal: false, operations: 2 },
      { range: [2, 4], batchIndex: 1, isFinal: false, operations: 2 },
      { range: [4, 6], batchIndex: 2, isFinal: true, operations: 2 },
    ])
    expect(batches(client)).toEqual(sent)
  })

  test('nor is one that starts amid what was sent, or what was written since any other than final', async () => {
    const store = new MemoryServerStore({ nodeId: 'server' })
    const { connect } = openRelayServer({ store, batchSize: 2 })
    const author = new OperationAuthor('writer')
    await storeAll(store, inserts(author, 6))
    const client = await connect('reader')
    const writer = await connect('writer')
    writer.receive(batch(inserts(author, 1)))
    await settle()
    client.sent.length = 0

    acknowledgeBatch(client, 'd-0-2', 1) // it has 1, and has ignored the batch
    await settle()

    expect(batches(client)).toEqual([
      { range: [1, 2], batchIndex: 0, isFinal: false, operations: 1 },
      { range: [2, 4], batchIndex: 1, isFinal: false, operations: 2 },
      { range: [4, 6], batchIndex: 2, isFinal: true, operations: 2 },
      { range: [6, 7], batchIndex: 0, isFinal: true, operations: 1 },
    ])
  })

  test('the last batch is not left out where it is empty: the client waits for it', async () => {
    const store = new MemoryServerStore({ nodeId: 'server' })
    const { connect, runtime } = openRelayServer({ store, batchSize: 2 })
    await storeAll(store, inserts(new OperationAuthor('writer'), 3))
    await storeAll(store, inserts(new OperationAuthor('phone'), 2))
    const client = await connect('phone', {
      handshake: { lastDeliverySequence: 1, versionVector: { phone: 2 } },
    })
    const sent = batches(client)
    client.sent.length = 0

    await runtime.advance(16_000)

    expect(sent).toEqual([
      { range: [1, 3], batchIndex: 0, isFinal: false, operations: 2 },
      { range: [3, 5], batchIndex: 1, isFinal: true, operations: 0 },
    ])
    expect(batches(client)).toEqual(sent)
  })

  test('no final batch follows one that the client has, before it is sent the last', async () => {
    class SlowClient extends RelayClient {
      isSlow = false
      override send(message: SyncMessage): void {
        super.send(message)
        if (this.isSlow) this.bufferedBytes = Number.MAX_SAFE_INTEGER
      }
    }
    const store = new MemoryServerStore({ nodeId: 'server' })
    const { connect, runtime } = openRelayServer({ store, batchSize: 2 })
    await storeAll(store, inserts(new OperationAuthor('writer'), 6))
    const client = new SlowClient()
    await connect('reader', { client })
    client.sent.length = 0
    client.isSlow = true
    await runtime.advance(16_000)

    acknowledgeBatch(client, 'd-0-2', 2)
    await settle()

    expect(batches(client)).toEqual([{ range: [0, 2], batchIndex: 0, isFinal: false, operations: 2 }])
  })
})

/** A log of six, and a client that has two of them by its handshake. */
async function connectedAtTwo(): Promise<MemoryTransport> {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store, batchSize: 3 })
  await storeAll(store, inserts(new OperationAuthor('writer'), 6))
  const client = await connect('reader', { handshake: { lastDeliverySequence: 2 } })
  expect(ranges(client)).toEqual([
    [2, 5],
    [5, 6],
  ])
  client.sent.length = 0
  return client
}

function ranges(client: MemoryTransport): unknown[] {
  return deliveries(client).map(({ baseDeliverySequence, maxDeliverySequence }) => [
    baseDeliverySequence,
    maxDeliverySequence,
  ])
}

/** @param lastSequenceNumber of a batch that the client has applied; 0: it has ignored it */
function acknowledgeBatch(
  client: MemoryTransport,
  messageId: string,
  deliverySequence: number,
  lastSequenceNumber = 0,
): void {
  const message = { type: 'acknowledgment', messageId: 'a', lastSequenceNumber }
  client.receive({ ...message, acknowledgedMessageId: messageId, deliverySequence })
}

test('a client that has got on since its handshake is sent at once what it lacks', async () => {
  const client = await connectedAtTwo()

  acknowledgeBatch(client, 'd-2-5', 3) // it has 3, and has ignored the batch
  await settle()

  expect(ranges(client)).toEqual([
    [3, 5],
    [5, 6],
  ])
})

test('what the client tells of its last session does not hide that it has ignored a batch', async () => {
  const client = await connectedAtTwo()

  acknowledgeBatch(client, 'd-2-3', 3)
  acknowledgeBatch(client, 'd-2-5', 3)
  await settle()

  expect(ranges(client)).toEqual([
    [3, 5],
    [5, 6],
  ])
})

test('what a client has is not sent again when it says so twice', async () => {
  const client = await connectedAtTwo()

  acknowledgeBatch(client, 'd-2-5', 5, 5)
  acknowledgeBatch(client, 'd-5-6', 6, 6)
  acknowledgeBatch(client, 'd-2-5', 6)
  await settle()

  expect(ranges(client)).toEqual([])
})

describe('a client that waits for a final batch', () => {
  test('is sent one that it takes when it has ignored the last, because it has got there meanwhile', async () => {
    const client = await connectedAtTwo()

    acknowledgeBatch(client, 'd-2-5', 6)
    acknowledgeBatch(client, 'd-5-6', 6)
    await settle()

    expect(deliveries(client)).toMatchObject([
      { operations: [], isFinal: true, baseDeliverySequence: 6, maxDeliverySequence: 6 },
    ])
  })

  test('is sent one, even if it tells of the last session that it has applied the same', async () => {
    const client = await connectedAtTwo()

    acknowledgeBatch(client, 'd-2-5', 5, 5)
    acknowledgeBatch(client, 'd-5-6', 6, 6)
    for (const messageId of ['d-2-5', 'd-5-6', 'd-6-6', 'd-5-6']) acknowledgeBatch(client, messageId, 6)
    await settle()

    expect(ranges(client)).toEqual([[6, 6]])
  })

  test('is sent no other when it has applied the last', async () => {
    const client = await connectedAtTwo()

    acknowledgeBatch(client, 'd-2-5', 5)
    acknowledgeBatch(client, 'd-5-6', 6, 6)
    await settle()

    expect(ranges(client)).toEqual([])
  })

  test('is sent another when the last was empty, where it may have been told something of its last session', async () => {
    const store = new MemoryServerStore({ nodeId: 'server' })
    const { connect } = openRelayServer({ store })
    await storeAll(store, inserts(new OperationAuthor('writer'), 6))
    const options = { scopes: { notes: {} } }
    const clients = [
      await connect('reader', options),
      await connect('poller', { ...options, isPolling: true }),
      await connect('new poller', { isPolling: true, handshake: { lastDeliverySequence: 6 } }),
    ]

    for (const client of clients) acknowledgeBatch(client, deliveries(client)[0]?.messageId ?? '', 6)
    await settle()

    expect(clients.map(ranges)).toEqual([
      [[0, 6]],
      [
        [0, 6],
        [6, 6],
      ],
      [[6, 6]],
    ])
  })
})

test('who acknowledges amid every batch is not sent the rest each time', async () => {
  const store = new MemoryServerStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  await storeAll(store, inserts(new OperationAuthor('writer'), 100))
  const client = await connect('reader')

  for (let sequence = 1; sequence < 100; sequence++) {
    acknowledgeBatch(client, `d-${sequence - 1}-100`, sequence)
    await settle()
  }

  expect(ranges(client).length).toBeLessThan(10)
})

test('a client that is served slowly is not taken for one that does not acknowledge', async () => {
  const { connect, runtime, store } = openRelayServer({ maxOpsPerMinute: 60 })
  const author = new OperationAuthor('phone')
  const client = await connect('phone')
  for (let i = 0; i < 20; i++) {
    const operations = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((j) => author.insert(recordIdOf(`${i} ${j}`), {}))
    client.receive(batch(operations, `b${i}`))
  }
  acknowledge(client, 0)

  await runtime.advance(180_000)

  expect(client.closed).toBeNull()
  expect(client.sentOfType('acknowledgment')).toHaveLength(20)
  expect(await store.getOperationCount()).toBe(200)
})

test('moves the watermark of a client that is up to date over what it may not see', async () => {
  const { connect, runtime } = openRelayServer()
  const reader = await connect('reader', { scopes: { notes: {} } })
  acknowledge(reader, 0)
  const writer = await connect('writer')
  writer.receive(batch(inserts(new OperationAuthor('writer'), 5)))
  await settle()
  reader.sent.length = 0

  await runtime.advance(31_000)

  expect(deliveries(reader)).toMatchObject([{ operations: [], maxDeliverySequence: 5 }])
})

test('a client that is looked after is not sent a batch for what it may not see, however much that is', async () => {
  const { connect, runtime } = openRelayServer()
  const reader = await connect('reader', { scopes: { notes: {} } })
  const writer = await connect('writer')
  reader.sent.length = 0

  const hidden = inserts(new OperationAuthor('writer'), 1500)
  for (let start = 0; start < hidden.length; start += 100) {
    writer.receive(batch(hidden.slice(start, start + 100), `b${start}`))
    await settle()
  }
  acknowledge(reader, 0) // its first batch
  await runtime.advance(2000)

  expect(deliveries(reader)).toEqual([])
})

test('watermarks of many are moved bit by bit, each once in half a minute', async () => {
  const { connect, runtime } = openRelayServer()
  const readers: MemoryTransport[] = []
  for (let n = 0; n < 60; n++) readers.push(await connect(`reader ${n}`, { scopes: { notes: {} } }))
  for (const reader of readers) acknowledge(reader, 0)
  const writer = await connect('writer')
  writer.receive(batch(inserts(new OperationAuthor('writer'), 5)))
  await settle()
  for (const reader of readers) reader.sent.length = 0
  const moved = (): number => readers.filter((reader) => deliveries(reader).length > 0).length

  await runtime.advance(30_000)
  expect(moved()).toBe(3)
  await runtime.advance(10_000)
  expect(moved()).toBe(23)
  await runtime.advance(20_000)
  expect(moved()).toBe(60)
  for (const reader of readers) expect(deliveries(reader)).toHaveLength(1)
})

test('a client that missed its turn has another, though the log stands still', async () => {
  const { connect, runtime } = openRelayServer()
  const reader = await connect('reader', { scopes: { notes: {} } })
  acknowledge(reader, 0)
  const writer = await connect('writer')
  const author = new OperationAuthor('writer')
  await runtime.advance(29_500)
  writer.receive(batch(inserts(author, 1, {}, 'notes')))
  await settle()
  writer.receive(batch(inserts(author, 5), 'c'))
  await settle()
  await runtime.advance(1000) // its turn, with a batch on its way
  acknowledge(reader, 1)
  reader.sent.length = 0

  await runtime.advance(90_000)

  expect(ranges(reader)).toEqual([[1, 6]])
})

test('a watermark that is moved again ends where it did before, for a client that may have got there', async () => {
  const { connect, runtime } = openRelayServer()
  const reader = await connect('reader', { scopes: { notes: {} } })
  acknowledge(reader, 0)
  const writer = await connect('writer')
  const author = new OperationAuthor('writer')
  writer.receive(batch(inserts(author, 5)))
  await settle()
  await runtime.advance(31_000) // moved to 5, which is not acknowledged
  writer.receive(batch([author.insert(recordIdOf('6'), { title: '6' })], 'c'))
  await settle()
  reader.sent.length = 0

  await runtime.advance(30_000)
  const other = await connect('other')
  other.receive(batch(inserts(new OperationAuthor('other'), 1, {}, 'notes'), 'd'))
  await settle()

  expect(ranges(reader)).toEqual([
    [0, 5],
    [5, 6],
    [6, 7],
  ])
})

test('goes on when the send buffer has drained, although nothing else happens', async () => {
  const { connect, runtime } = openRelayServer()
  const reader = await connect('reader')
  acknowledge(reader, 0)
  reader.sent.length = 0
  reader.bufferedBytes = 5 * 1024 * 1024 // presence of others, say
  const writer = await connect('writer')
  writer.receive(batch(inserts(new OperationAuthor('writer'), 1)))
  await settle()
  expect(deliveries(reader)).toEqual([])

  reader.bufferedBytes = 0
  await runtime.advance(1000)

  expect(operationIds(reader)).toHaveLength(1)
})

test('who is further behind than what is kept in memory is told to be as far behind as it is', async () => {
  const { server, connect } = openRelayServer({ limits: { maxFeedBytes: 1000 } })
  const slow = await connect('slow')
  acknowledge(slow, 0)
  await connect('quick')
  const writer = await connect('writer')
  slow.bufferedBytes = 5 * 1024 * 1024
  for (const operation of inserts(new OperationAuthor('writer'), 20)) {
    writer.receive(batch([operation]))
    await settle()
  }

  const lag = [...server.hub.sessions.values()].map(({ deliveryLag }) => deliveryLag?.entries)
  expect(lag).toEqual([20, 0, 0])
})

test('a batch that is shared with the author of what came before it does not lack that', async () => {
  const { connect, runtime } = openRelayServer()
  const [author, writer, reader] = [await connect('author'), await connect('writer'), await connect('reader')]
  for (const client of [author, writer, reader]) acknowledge(client, 0)
  for (const client of [author, reader]) client.sent.length = 0
  reader.bufferedBytes = 5 * 1024 * 1024 // falls behind
  const [first] = inserts(new OperationAuthor('author'), 1) as [Operation]
  const [second] = inserts(new OperationAuthor('writer'), 1) as [Operation]
  author.receive(batch([first]))
  await settle()
  writer.receive(batch([second]))
  await settle()
  expect(operationIds(author)).toEqual([second.id])

  reader.bufferedBytes = 0
  await runtime.advance(1000)

  expect(operationIds(reader)).toEqual([first.id, second.id])
})

test('live batches are bounded in bytes', async () => {
  const { connect } = openRelayServer()
  const reader = await connect('reader')
  acknowledge(reader, 0)
  reader.sent.length = 0
  const writer = await connect('writer')
  writer.receive(batch(inserts(new OperationAuthor('writer'), 20, { text: 'x'.repeat(200_000) })))
  await settle()
  for (let i = 0; i < 20; i++) {
    acknowledge(reader, deliveries(reader).at(-1)?.maxDeliverySequence ?? 0)
    await settle()
  }

  const sizes = deliveries(reader).map((message) => JSON.stringify(message).length)
  expect(operationIds(reader)).toHaveLength(20)
  expect(Math.max(...sizes)).toBeLessThan(600_000)
})

test('who sends without reading the answers is cut off', async () => {
  const { connect, runtime } = openRelayServer()
  const client = await connect('phone')
  acknowledge(client, 0)
  client.bufferedBytes = 5 * 1024 * 1024
  client.receive(batch([]))
  await runtime.advance(32_000)
  expect(client.closed?.code).toBe(4010)

  const flooder = await connect('flooder')
  flooder.receive(batch([]))
  flooder.bufferedBytes = 17 * 1024 * 1024 // what it was owed before
  await settle()
  expect(flooder.closed?.code).toBe(4010)
})

test('who does not read the answers is given no more of them until it has', async () => {
  const { connect, store, runtime } = openRelayServer()
  const client = await connect('phone')
  acknowledge(client, 0)
  const author = new OperationAuthor('phone')
  client.bufferedBytes = 5 * 1024 * 1024
  for (const operation of inserts(author, 3)) client.receive(batch([operation]))
  await runtime.advance(20_000)
  expect(client.sentOfType('acknowledgment')).toHaveLength(0)
  expect(await store.getOperationCount()).toBe(0)

  client.bufferedBytes = 0
  await runtime.advance(100)
  expect(client.sentOfType('acknowledgment')).toHaveLength(3)
  expect(client.closed).toBeNull()
})

test('a server that stops does not wait for who does not read', async () => {
  const { connect, server } = openRelayServer()
  const client = await connect('phone')
  acknowledge(client, 0)
  client.bufferedBytes = 5 * 1024 * 1024
  client.receive(batch(inserts(new OperationAuthor('phone'), 1)))
  await settle()
  const session = [...server.hub.sessions.values()][0]

  session?.stopReading()
  let isSettled = false
  void session?.settled().then(() => {
    isSettled = true
  })
  await settle()
  expect(isSettled).toBe(true)
})

test('a transport that throws ends its own session and nothing else', async () => {
  class BrokenTransport extends MemoryTransport {
    isBroken = false
    override send(message: SyncMessage): void {
      if (this.isBroken) throw new Error('the application closed it')
      super.send(message)
    }
    override close(): void {
      throw new Error('the application closed it')
    }
  }
  const { server, connect, store } = openRelayServer()
  const broken = new BrokenTransport()
  server.handleConnection(broken)
  broken.receive({
    type: 'handshake',
    messageId: 'h',
    nodeId: 'broken',
    versionVector: {},
    schemaVersion: 1,
    authToken: '{"userId":"u","scopes":null}',
    lastDeliverySequence: 0,
  })
  await settle()
  const reader = await connect('reader')
  const writer = await connect('writer')
  broken.isBroken = true

  writer.receive(batch(inserts(new OperationAuthor('writer'), 2)))
  await settle()

  expect(operationIds(reader)).toHaveLength(2)
  expect(await store.getOperationCount()).toBe(2)
  expect(server.getConnectionCount()).toBe(2)
})

test('an observer that throws keeps nobody from what was committed', async () => {
  const { server, connect } = openRelayServer()
  server.hub.observe(() => {
    throw new Error('the dashboard failed')
  })
  const reader = await connect('reader')
  const writer = await connect('writer')
  const author = new OperationAuthor('writer')

  for (const operation of inserts(author, 2)) {
    writer.receive(batch([operation]))
    await settle()
  }

  expect(operationIds(reader)).toHaveLength(2)
})

test('what could not be read on after a commit elsewhere is read a moment later', async () => {
  class FlakyStore extends MemoryServerStore {
    failures = 0
    override readLog(...args: Parameters<MemoryServerStore['readLog']>) {
      if (this.failures-- > 0) return Promise.reject(new StoreError('STORE_UNAVAILABLE', 'away'))
      return super.readLog(...args)
    }
  }
  const store = new FlakyStore({ nodeId: 'server' })
  const { connect, runtime } = openRelayServer({ store })
  const reader = await connect('reader')
  store.failures = 1
  await storeAll(store, inserts(new OperationAuthor('elsewhere'), 1)) // past the hub
  const writer = await connect('writer')
  writer.receive(batch(inserts(new OperationAuthor('writer'), 1)))
  await settle()
  await runtime.advance(2000)

  expect(operationIds(reader)).toHaveLength(2)
})

test('a store that did not answer once is asked again by the next connection', async () => {
  class LateStore extends MemoryServerStore {
    isAway = true
    override getMaxDeliverySequence() {
      if (this.isAway) return Promise.reject(new StoreError('STORE_UNAVAILABLE', 'away'))
      return super.getMaxDeliverySequence()
    }
  }
  const store = new LateStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store, logger: silentLogger })
  const first = await connect('first')
  expect(first.closed).not.toBeNull()
  store.isAway = false

  const second = await connect('second')

  expect(second.sentOfType('handshake-response')).toMatchObject([{ accepted: true }])
})

/** A store that says which pages were asked of it. */
class CountedStore extends MemoryServerStore {
  readonly pages: number[] = []

  override readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    this.pages.push(query.after)
    return super.readDelivery(query)
  }
}

test('what clients that catch up side by side are sent is read once', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  const stored = inserts(new OperationAuthor('author'), 950)
  await storeAll(store, stored)

  const clients = await Promise.all(['a', 'b', 'c', 'd'].map((nodeId) => connect(nodeId)))

  for (const client of clients) expect(operationIds(client)).toEqual(stored.map(({ id }) => id))
  // The first page is read by the client that is still alone, and the last batch by each. Pages grow.
  const between = store.pages.filter((after) => after > 0 && after < 900)
  expect(between).toEqual([100, 300, 700])
})

test('clients that catch up side by side are sent what differs between them', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  const stored = inserts(new OperationAuthor('author'), 350)
  const own = inserts(new OperationAuthor('phone'), 50)
  const all = [...stored.slice(0, 120), ...own, ...stored.slice(120)]
  await storeAll(store, all)
  const since = { lastDeliverySequence: 100, versionVector: { phone: 50, author: 0 } }

  const [tablet, phone, binary, fresh] = await Promise.all([
    connect('tablet', { handshake: { lastDeliverySequence: 100 } }),
    connect('phone', { handshake: since }),
    connect('binary', { handshake: { lastDeliverySequence: 100, supportedWireFormats: ['protobuf'] } }),
    connect('fresh'),
  ])

  const ids = all.map(({ id }) => id)
  const ofOthers = all.filter(({ nodeId }) => nodeId !== 'phone').map(({ id }) => id)
  expect(operationIds(fresh)).toEqual(ids)
  expect(operationIds(tablet)).toEqual(ids.slice(100))
  expect(operationIds(binary)).toEqual(ids.slice(100))
  expect(operationIds(phone)).toEqual(ofOthers.slice(100))
  for (const client of [tablet, phone, binary, fresh]) {
    const chain = deliveries(client)
    expect(chain.map(({ batchIndex }) => batchIndex)).toEqual(chain.map((_, index) => index))
    expect(chain.map(({ isFinal }) => isFinal)).toEqual(chain.map((_, index) => index === chain.length - 1))
    chain.slice(1).forEach((batch, index) => {
      expect(batch.baseDeliverySequence).toBe(chain[index]?.maxDeliverySequence)
    })
  }
})

test('nothing is kept for clients once none of them catches up any more', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  await storeAll(store, inserts(new OperationAuthor('author'), 350))

  await Promise.all(['a', 'b'].map((nodeId) => connect(nodeId)))
  store.pages.length = 0
  await connect('late')

  expect(store.pages).toEqual([0, 100, 300])
})

test('a client that catches up alone is read more and more batches at once, each as large as the others', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  const stored = inserts(new OperationAuthor('author'), 2130)
  await storeAll(store, stored)

  const client = await connect('alone')

  expect(operationIds(client)).toEqual(stored.map(({ id }) => id))
  expect(store.pages).toEqual([0, 100, 300, 700, 1200, 1700])
  expect(deliveries(client).map(({ operations }) => operations.length)).toEqual([
    ...Array.from({ length: 21 }, () => 100),
    30,
  ])
  expect(deliveries(client).map(({ isFinal }) => isFinal)).toEqual(
    deliveries(client).map((_, index) => index === 21),
  )
})

test('what was read beyond the window of a client is sent once it has acknowledged', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  // Batches of some 170 kB, of which six fill the window; a page holds three.
  const stored = inserts(new OperationAuthor('author'), 1500, { title: 'x'.repeat(1400) })
  await storeAll(store, stored)

  const client = await connect('slow')
  const inWindow = operationIds(client).length
  for (let round = 0; round < 20; round++) {
    acknowledge(client, deliveries(client).at(-1)?.maxDeliverySequence ?? 0)
    await settle()
  }

  expect(inWindow).toBeLessThan(800)
  expect(operationIds(client)).toEqual(stored.map(({ id }) => id))
  expect(deliveries(client).at(-1)?.isFinal).toBe(true)
})

/** A connection that takes frames: it shows their form, and may break at the last one of the initial stream. */
class FramedClient extends MemoryTransport {
  readonly forms: string[] = []
  breaksAtEnd = false

  sendFrame({ isBinary, bytes }: Frame): void {
    this.forms.push(isBinary ? 'binary' : 'text')
    if (isBinary) return
    const message = JSON.parse(Buffer.from(bytes).toString()) as SyncMessage
    if (this.breaksAtEnd && message.type === 'operation-batch' && message.isFinal) throw new Error('EPIPE')
    this.sent.push(message)
  }
}

/** Connects without waiting for anything. */
function greet(
  { server }: RelayServer,
  client: MemoryTransport,
  nodeId: string,
  handshake: object = {},
): void {
  server.handleConnection(client)
  const authToken = JSON.stringify({ userId: nodeId, scopes: null })
  client.receive({
    type: 'handshake',
    messageId: 'h',
    nodeId,
    versionVector: {},
    schemaVersion: 1,
    authToken,
    lastDeliverySequence: 0,
    ...handshake,
  })
}

test('a client that reads text is not sent what another made binary meanwhile', async () => {
  let letRead = (): void => {}
  const mayRead = new Promise<void>((resolve) => {
    letRead = resolve
  })
  class SlowStore extends MemoryServerStore {
    override async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
      const page = await super.readDelivery(query)
      if (query.after === 100) await mayRead
      return page
    }
  }
  const store = new SlowStore({ nodeId: 'server' })
  const relay = openRelayServer({ store })
  await storeAll(store, inserts(new OperationAuthor('author'), 450))
  const [binary, text] = [new FramedClient(), new FramedClient()]
  greet(relay, binary, 'binary', { supportedWireFormats: ['json', 'protobuf'] })
  greet(relay, text, 'text')
  await settle()

  const acknowledgment = {
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: 'd',
    lastSequenceNumber: 0,
    deliverySequence: 100,
  } as const
  binary.receive(encodeFrame(acknowledgment, 'protobuf'))
  await settle()
  letRead()
  await settle()

  expect(binary.forms).toContain('binary')
  expect(text.forms).not.toContain('binary')
  expect(operationIds(text)).toHaveLength(450)
})

test('a connection that breaks at the last batch does not keep the others from sharing', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const relay = openRelayServer({ store })
  await storeAll(store, inserts(new OperationAuthor('author'), 350))
  const watching = await relay.connect('watching') // keeps the view
  const broken = new FramedClient()
  broken.breaksAtEnd = true
  greet(relay, broken, 'broken')
  await settle()
  expect(broken.isConnected()).toBe(false)
  store.pages.length = 0

  await Promise.all(['a', 'b'].map((nodeId) => relay.connect(nodeId)))

  expect(store.pages.filter((after) => after > 0 && after < 300)).toEqual([100])
  expect(watching.isConnected()).toBe(true)
})

test('batches that are cut by their bytes are shared as well', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  await storeAll(store, inserts(new OperationAuthor('author'), 300, { body: 'x'.repeat(10_000) }))

  await Promise.all(['a', 'b', 'c', 'd'].map((nodeId) => connect(nodeId)))

  // A page of 512 kB each, until the windows of the clients are full.
  const shared = store.pages.filter((after) => after > 0)
  expect(shared.length).toBeGreaterThan(0)
  expect(shared).toEqual([...new Set(shared)])
})

test('clients keep sharing batches where one of them is not sent what it has written itself', async () => {
  const store = new CountedStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  const author = new OperationAuthor('author')
  const wide = { body: 'x'.repeat(1020) } // a page of 512 kB holds less than the four batches asked for
  await storeAll(store, inserts(author, 450, wide))
  await storeAll(store, inserts(new OperationAuthor('b'), 1, wide))
  await storeAll(store, inserts(author, 300, wide))

  const [a, b] = await Promise.all([connect('a'), connect('b', { handshake: { versionVector: { b: 1 } } })])

  const endsOf = (client: MemoryTransport): (number | undefined)[] =>
    deliveries(client).map(({ maxDeliverySequence }) => maxDeliverySequence)
  expect(endsOf(a)).toEqual([100, 200, 300, 400, 500, 600, 700, 751])
  expect(endsOf(b)).toEqual(endsOf(a))
})

test('a client that catches up alone is read hardly a row twice', async () => {
  let rows = 0
  class RowCountingStore extends MemoryServerStore {
    override async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
      const page = await super.readDelivery(query)
      rows += page.entries.length
      return page
    }
  }
  const store = new RowCountingStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  const wide = { body: 'x'.repeat(2400) } // a page of 512 kB holds one batch and a part of the next
  const operations = inserts(new OperationAuthor('author'), 1000, wide)
  await storeAll(store, operations)

  const client = await connect('alone')
  for (let round = 0; round < 20; round++) {
    client.acknowledgeAll()
    await settle()
  }

  expect(operationIds(client)).toEqual(operations.map(({ id }) => id))
  expect(rows).toBeLessThan(1010)
})

test('a client that was behind is served from memory again, however often others commit while it is read', async () => {
  let letRead: () => void = () => {}
  class SlowStore extends CountedStore {
    override async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
      const page = await super.readDelivery(query)
      await new Promise<void>((resolve) => {
        letRead = resolve
      })
      return page
    }
  }
  const store = new SlowStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store })
  const writer = await connect('writer')
  letRead()
  await settle()
  const written = inserts(new OperationAuthor('writer'), 4)
  const write = async (operation: Operation | undefined) => {
    writer.receive(batch(operation === undefined ? [] : [operation]))
    await settle()
  }

  await write(written[0])
  const late = await connect('late')
  await write(written[1])
  letRead()
  await settle()
  await write(written[2])
  letRead()
  await settle()
  await write(written[3])

  expect(operationIds(late)).toEqual(written.map(({ id }) => id))
  expect(store.pages).toEqual([0, 0])
})
