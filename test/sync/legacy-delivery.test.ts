import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { encodeDeltaCursor } from '../../src/protocol/delta-cursor.ts'
import type { MemoryTransport } from '../support/memory-transport.ts'
import { appendAll, OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { openRelayServer } from '../support/relay-server.ts'

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

  acknowledge(client, 'b-1')
  acknowledge(client, 'b-2')
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
