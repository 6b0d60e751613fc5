import { expect, test } from 'vitest'
import { StoreError } from '../../../src/core/errors.ts'
import { LOG_EVENTS } from '../../../src/core/log-events.ts'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { encodeFrame } from '../../../src/protocol/codec.ts'
import type { OperationBatchMessage } from '../../../src/protocol/messages.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { AppendResult } from '../../../src/store/store.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'
import { OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { type ConnectOptions, openRelayServer, type RelayServer } from '../../support/relay-server.ts'
import { resolverSchema, withoutFunctions } from '../../support/resolver-schema.ts'
import { settle } from '../../support/simulated-runtime.ts'
import { recordingLogger } from '../../support/tokens.ts'

/** A delta of single operations. */
function deltaOf(operations: readonly Operation[]) {
  return deltaOfBatches(operations.map((operation) => [operation]))
}

function deltaOfBatches(batches: readonly (readonly Operation[])[]) {
  return batches.map((operations, batchIndex) => ({
    type: 'operation-batch' as const,
    messageId: `b${batchIndex}`,
    operations,
    isFinal: batchIndex === batches.length - 1,
    batchIndex,
    totalBatches: batches.length,
  }))
}

test('a lost batch of a delta is not counted as received, so that the client sends it again', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const operations = ['a', 'b', 'c', 'd'].map((name) => author.insert(recordIdOf(name), {}))
  const [first, , third, last] = deltaOf(operations)
  const phone = await connect('phone', { isPolling: true })

  for (const batch of [first, third, last]) if (batch !== undefined) phone.receive(batch)
  await settle()

  expect(phone.sentOfType('acknowledgment')).toHaveLength(3)
  expect((await store.getVersionVector()).get('phone')).toBe(1)

  const again = await connect('phone', { isPolling: true })
  for (const batch of deltaOf(operations.slice(1))) again.receive(batch)
  await settle()
  expect(again.sentOfType('acknowledgment')).toHaveLength(3)
  expect(await store.getOperationCount()).toBe(4)
  expect((await store.getVersionVector()).get('phone')).toBe(4)
})

test('who needs a resolver that is missing is sent away by name, keeps its change, and ends nobody else', async () => {
  const { connect, store } = openRelayServer()
  const schema = resolverSchema()
  await store.setSchema(withoutFunctions(schema))
  const author = new OperationAuthor('phone')
  const seen = [
    author.insert('r', { title: 'a' }),
    author.update('r', { title: 'b' }, { previousData: { title: 'a' } }),
  ]
  for (const operation of seen) await store.applyRemoteOperation(operation)
  const conflicting = author.update('r', { title: 'c' }, { previousData: { title: 'a' } })
  const phone = await connect('phone')
  const tablet = await connect('tablet')

  phone.receive({ ...liveBatch(author), operations: [conflicting] })
  tablet.receive(liveBatch(new OperationAuthor('tablet')))
  await settle()

  expect(phone.sentOfType('error')).toMatchObject([
    { code: 'STORE_UNAVAILABLE', retriable: true, message: expect.stringContaining('"todos.title"') },
  ])
  expect(phone.sentOfType('operation-rejected')).toEqual([]) // a client would give the change up
  expect(phone.sentOfType('acknowledgment')).toEqual([])
  expect(tablet.sentOfType('acknowledgment')).toHaveLength(1)

  await store.setSchema(schema)
  const again = await connect('phone')
  again.receive({ ...liveBatch(author), operations: [conflicting] })
  await settle()
  expect(again.sentOfType('acknowledgment')).toHaveLength(1)
  expect(await store.findRecord('todos', 'r')).toMatchObject({ title: 'b c' })
})

test('what is thrown as a batch is answered is logged as the error that it is, and not taken for an outage', async () => {
  class DefectiveStore extends MemoryServerStore {
    override append(): Promise<readonly AppendResult[]> {
      return Promise.resolve([{ status: 'refused' } as AppendResult]) // without a refusal to tell
    }
  }
  const recorded = recordingLogger()
  const { connect } = openRelayServer({ store: new DefectiveStore({ nodeId: 'server' }), logger: recorded })
  const phone = await connect('phone')

  phone.receive(liveBatch(new OperationAuthor('phone')))
  await settle()

  const crashed = recorded.lines.filter(({ message }) => message === LOG_EVENTS.sessionCrashed.message)
  expect(crashed).toMatchObject([{ level: 'error', fields: { err: expect.any(TypeError) } }])
  expect(phone.sentOfType('error')).toMatchObject([{ code: 'SYNC_ERROR', retriable: true }])
  expect(phone.closed?.code).toBe(1011)
})

test.each([
  ['of the store', new StoreError('STORE_CORRUPT', 'damaged')],
  ['of its driver', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })],
])('that an error %s keeps a batch from being stored is an outage', async (_whose, error) => {
  class FailingStore extends MemoryServerStore {
    override append(): Promise<readonly AppendResult[]> {
      return Promise.reject(error)
    }
  }
  const { connect } = openRelayServer({ store: new FailingStore({ nodeId: 'server' }) })
  const phone = await connect('phone')

  phone.receive(liveBatch(new OperationAuthor('phone')))
  await settle()

  expect(phone.sentOfType('acknowledgment')).toEqual([])
  expect(phone.sentOfType('error')).toMatchObject([{ code: 'STORE_UNAVAILABLE', retriable: true }])
  expect(phone.closed?.code).toBe(1013)
})

test('what a client writes after a delta whose end was lost does not count either', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const [first] = deltaOf(['a', 'b'].map((name) => author.insert(recordIdOf(name), {})))
  const phone = await connect('phone', { isPolling: true })

  for (const batch of [first, liveBatch(author)]) if (batch !== undefined) phone.receive(batch)
  await settle()

  expect(await store.getOperationCount()).toBe(2)
  expect((await store.getVersionVector()).get('phone')).toBe(1)
})

test('nor what it writes after a delta that was lost whole', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  author.insert(recordIdOf('lost'), {})
  const phone = await connect('phone', { isPolling: true })

  phone.receive(liveBatch(author))
  await settle()

  expect(await store.getOperationCount()).toBe(1)
  expect((await store.getVersionVector()).get('phone')).toBeUndefined()
})

test('where a delta does not show, one that was owed and did not come is missed all the same', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const delta = ['a', 'b'].map((name) => author.insert(recordIdOf(name), {}))
  const phone = await connect('phone', {
    isPolling: true,
    isLegacy: true,
    handshake: { versionVector: { phone: 2 } },
  })

  phone.receive(liveBatch(author))
  await settle()
  expect(await store.getOperationCount()).toBe(1)
  expect((await store.getVersionVector()).get('phone')).toBeUndefined()

  const again = await connect('phone', {
    isPolling: true,
    isLegacy: true,
    handshake: { versionVector: { phone: 3 } },
  })
  for (const { totalBatches: _none, ...batch } of deltaOf(delta)) again.receive(batch)
  await settle()
  expect(await store.getOperationCount()).toBe(3)
  expect((await store.getVersionVector()).get('phone')).toBe(2)
})

test('what is sent again although it is stored is no delta, either', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const [first, ...lost] = ['a', 'b', 'c'].map((name) => author.insert(recordIdOf(name), {}))
  if (first !== undefined) await store.applyRemoteOperation(first)
  const phone = await connect('phone', {
    isPolling: true,
    isLegacy: true,
    handshake: { versionVector: { phone: 3 } },
  })

  phone.receive({ ...liveBatch(author), operations: [first] }) // the delta before it was lost
  phone.receive(liveBatch(author))
  await settle()
  expect(await store.getOperationCount()).toBe(2)
  expect((await store.getVersionVector()).get('phone')).toBe(1)

  const again = await connect('phone', {
    isPolling: true,
    isLegacy: true,
    handshake: { versionVector: { phone: 4 } },
  })
  for (const { totalBatches: _none, ...batch } of deltaOf(lost)) again.receive(batch)
  await settle()
  expect((await store.getVersionVector()).get('phone')).toBe(3)
})

test('a delta of what was written since the handshake is missed by the numbers that follow it', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const [first, ...lost] = ['a', 'b', 'c'].map((name) => author.insert(recordIdOf(name), {}))
  if (first !== undefined) await store.applyRemoteOperation(first)
  const handshake = { versionVector: { phone: 1 } }
  const phone = await connect('phone', { isPolling: true, isLegacy: true, handshake })
  const live = liveBatch(author)

  phone.receive(live)
  await settle()
  expect(await store.getOperationCount()).toBe(2)
  expect((await store.getVersionVector()).get('phone')).toBe(1)

  const again = await connect('phone', {
    isPolling: true,
    isLegacy: true,
    handshake: { versionVector: { phone: 4 } },
  })
  for (const batch of deltaOf([...lost, ...live.operations])) again.receive(batch)
  await settle()
  expect(await store.getOperationCount()).toBe(4)
  expect((await store.getVersionVector()).get('phone')).toBe(4)
})

test('a delta that begins with a later number is none the less one, and counts', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const [, second] = ['not in its view', 'b'].map((name) => author.insert(recordIdOf(name), {}))
  const phone = await connect('phone', { isPolling: true, isLegacy: true })

  for (const batch of second === undefined ? [] : deltaOf([second])) phone.receive(batch)
  await settle()

  expect((await store.getVersionVector()).get('phone')).toBe(2)
})

test('what builds on a delta that was lost whole is not refused for that', async () => {
  const { connect } = openRelayServer()
  const author = new OperationAuthor('phone')
  const record = recordIdOf('shared')
  author.insert(record, { owner: 'ada' })
  const phone = await connect('phone', { isPolling: true, scopes: { todos: { owner: 'ada' } } })

  phone.receive({ ...liveBatch(author), operations: [author.update(record, { title: 'new' })] })
  await settle()

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(phone.sentOfType('acknowledgment')).toEqual([])
})

test('a client with the binary form that owes its delta is missed it, too; one that sends it is not', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const delta = ['a', 'b'].map((name) => author.insert(recordIdOf(name), {}))
  const owing = { isPolling: true, handshake: { versionVector: { phone: 2 } } }
  const phone = await connect('phone', owing)

  phone.receive(encodeFrame(liveBatch(author), 'protobuf'))
  await settle()
  expect((await store.getVersionVector()).get('phone')).toBeUndefined()

  const again = await connect('phone', owing)
  for (const batch of deltaOf(delta)) again.receive(encodeFrame(batch, 'protobuf'))
  await settle()
  expect((await store.getVersionVector()).get('phone')).toBe(2)
})

/** A client that polls and has sent its delta, in which there is nothing. */
async function connectedWithDelta({ connect }: RelayServer, options: ConnectOptions = {}) {
  const phone = await connect('phone', { ...options, isPolling: true })
  phone.receive(deltaBatch([]))
  await settle()
  return phone
}

function deltaBatch(operations: readonly Operation[]): OperationBatchMessage {
  return { ...liveBatchOf(operations, 'delta'), totalBatches: 1 }
}

function liveBatchOf(operations: readonly Operation[], messageId = 'live'): OperationBatchMessage {
  return { type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 }
}

test('over a lost batch of what is written later nothing counts: its client has forgotten it', async () => {
  const server = openRelayServer()
  const author = new OperationAuthor('phone')
  const [kept, lost, next, last] = ['a', 'b', 'c', 'd'].map((name) =>
    author.insert(recordIdOf(name), {}),
  ) as [Operation, Operation, Operation, Operation]
  const phone = await connectedWithDelta(server)

  for (const operation of [kept, next, last]) phone.receive(liveBatchOf([operation]))
  await settle()
  expect(phone.sentOfType('acknowledgment')).toHaveLength(4)
  expect((await server.store.getVersionVector()).get('phone')).toBe(1)

  const again = await server.connect('phone', { isPolling: true })
  again.receive(deltaBatch([lost, next, last]))
  await settle()
  expect(await server.store.getOperationCount()).toBe(4)
  expect((await server.store.getVersionVector()).get('phone')).toBe(4)
})

test('what is sent again in one batch with what follows the lost one does not hide it', async () => {
  const server = openRelayServer()
  const author = new OperationAuthor('phone')
  const [known, , next] = ['a', 'b', 'c'].map((name) => author.insert(recordIdOf(name), {})) as Operation[]
  if (!known || !next) throw new Error('Three were made')
  await server.store.applyRemoteOperation(known)
  const phone = await connectedWithDelta(server)

  phone.receive(liveBatchOf([known, next]))
  await settle()

  expect((await server.store.getVersionVector()).get('phone')).toBe(1)
})

test('a change of what was in a lost batch is not refused for that', async () => {
  const scopes = { todos: { owner: 'ada' } }
  const author = new OperationAuthor('phone')
  const record = recordIdOf('shared')
  author.insert(record, { owner: 'ada' })
  const phone = await connectedWithDelta(openRelayServer(), { scopes })

  phone.receive(liveBatchOf([author.update(record, { title: 'new' })]))
  await settle()

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(phone.sentOfType('acknowledgment')).toHaveLength(1)
})

test('a lost batch that was only late is told of its own refusals, and so is what follows once it is there', async () => {
  const server = openRelayServer()
  const author = new OperationAuthor('phone')
  const [late, next, last] = ['bob', 'ada', 'bob'].map((owner, index) =>
    author.insert(recordIdOf(`${index}`), { owner }),
  ) as [Operation, Operation, Operation]
  const phone = await connectedWithDelta(server, { scopes: { todos: { owner: 'ada' } } })

  for (const operation of [next, late, last]) phone.receive(liveBatchOf([operation]))
  await server.runtime.advance(1000)

  const refused = phone.sentOfType('operation-rejected').map(({ operationId }) => operationId)
  expect(refused).toEqual([late.id, last.id])
  expect(phone.sentOfType('acknowledgment')).toHaveLength(4)
})

test('what is missing for good ends the session, since its client may not wait for the answer any more', async () => {
  const server = openRelayServer()
  const author = new OperationAuthor('phone')
  const record = recordIdOf('shared')
  const insert = author.insert(record, { owner: 'ada' })
  const update = author.update(record, { title: 'new' })
  const scopes = { todos: { owner: 'ada' } }
  const phone = await connectedWithDelta(server, { scopes })
  phone.receive(liveBatchOf([update]))
  await server.runtime.advance(28_000)
  expect(phone.closed).toBeNull()

  await server.runtime.advance(1000)

  expect(phone.closed).not.toBeNull()
  expect(phone.sentOfType('error')).toEqual([])
  const again = await server.connect('phone', { isPolling: true, scopes })
  again.receive(deltaBatch([insert, update]))
  await settle()
  expect(again.sentOfType('acknowledgment')).toHaveLength(1)
  expect(again.sentOfType('operation-rejected')).toEqual([])
})

test('numbers that a client leaves out show no gap where every message has come', async () => {
  const server = openRelayServer()
  const author = new OperationAuthor('phone')
  author.insert(recordIdOf('not in its view'), {})
  const phone = await connectedWithDelta(server)
  phone.hasAllMessages = true

  phone.receive(liveBatchOf([author.insert(recordIdOf('b'), {})]))
  await settle()

  expect((await server.store.getVersionVector()).get('phone')).toBe(2)
})

test('a client without watermark that owes nothing is not asked for a delta', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const phone = await connect('phone', { isPolling: true, isLegacy: true })

  phone.receive(liveBatch(author))
  await settle()

  expect((await store.getVersionVector()).get('phone')).toBe(1)
})

test('what is refused only because something before it was lost is taken when both come again', async () => {
  const { connect, store } = openRelayServer()
  const scopes = { todos: { owner: 'ada' } }
  const author = new OperationAuthor('phone')
  const record = recordIdOf('shared')
  const operations = [
    author.insert(recordIdOf('other'), { owner: 'ada' }),
    author.insert(record, { owner: 'ada', title: 'old' }),
    author.update(record, { title: 'new' }),
  ]
  const [first, , last] = deltaOf(operations)
  const phone = await connect('phone', { isPolling: true, scopes })
  for (const batch of [first, last]) if (batch !== undefined) phone.receive(batch)
  await settle()

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(phone.sentOfType('acknowledgment').map((message) => message.acknowledgedMessageId)).toEqual(['b0'])
  expect(phone.sentOfType('error')).toEqual([])

  const again = await connect('phone', { isPolling: true, scopes })
  for (const batch of deltaOf(operations.slice(1))) again.receive(batch)
  await settle()
  expect(again.sentOfType('operation-rejected')).toEqual([])
  expect(again.sentOfType('acknowledgment')).toHaveLength(2)
  const stored = (await store.readRecordValues('todos', [record])).get(record)
  expect(stored?.values).toMatchObject({ title: 'new' })
})

test('what is refused is tried again, because what is missing may only be late', async () => {
  const { connect, store, runtime } = openRelayServer()
  const scopes = { todos: { owner: 'ada' } }
  const author = new OperationAuthor('phone')
  const record = recordIdOf('shared')
  const [first, late, last] = deltaOf([
    author.insert(recordIdOf('other'), { owner: 'ada' }),
    author.insert(record, { owner: 'ada', title: 'old' }),
    author.update(record, { title: 'new' }),
  ])
  const phone = await connect('phone', { isPolling: true, scopes })
  for (const batch of [first, last]) if (batch !== undefined) phone.receive(batch)
  await settle()
  await runtime.advance(1000) // tried once, in vain
  if (late !== undefined) phone.receive(late)
  await settle()

  await runtime.advance(4000)

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  const answered = phone.sentOfType('acknowledgment').map((message) => message.acknowledgedMessageId)
  expect(answered).toEqual(['b0', 'b1', 'b2'])
  expect((await store.readRecordValues('todos', [record])).get(record)?.values.title).toBe('new')
})

test('what was only late, and made the gap, is told of its own refusals at once', async () => {
  const { connect } = openRelayServer()
  const author = new OperationAuthor('phone')
  const [first, late, last] = deltaOf(
    ['ada', 'bob', 'ada'].map((owner, index) => author.insert(recordIdOf(`${index}`), { owner })),
  )
  const phone = await connect('phone', { isPolling: true, scopes: { todos: { owner: 'ada' } } })

  for (const batch of [first, last, late]) if (batch !== undefined) phone.receive(batch)
  await settle()

  expect(phone.sentOfType('operation-rejected')).toMatchObject([{ code: 'SCOPE_VIOLATION' }])
  expect(phone.sentOfType('acknowledgment')).toHaveLength(3)
})

test('what is refused is told once the end of a delta is there that something else has overtaken', async () => {
  const { connect, runtime } = openRelayServer()
  const author = new OperationAuthor('phone')
  const [first, last] = deltaOf([
    author.insert(recordIdOf('first'), { owner: 'ada' }),
    author.insert(recordIdOf('last'), { owner: 'ada' }),
  ])
  const phone = await connect('phone', { isPolling: true, scopes: { todos: { owner: 'ada' } } })
  const send = (messageId: string, operation: Operation): void =>
    phone.receive({
      type: 'operation-batch',
      messageId,
      operations: [operation],
      isFinal: true,
      batchIndex: 0,
    })
  if (first !== undefined) phone.receive(first)
  send('live', author.insert(recordIdOf('live'), { owner: 'ada' }))
  if (last !== undefined) phone.receive(last)
  await settle()
  expect(phone.sentOfType('acknowledgment')).toHaveLength(3)

  const foreign = author.insert(recordIdOf('foreign'), { owner: 'bob' })
  send('foreign', foreign)
  await runtime.advance(60_000)

  expect(phone.sentOfType('operation-rejected')).toMatchObject([{ operationId: foreign.id }])
})

test('two that were late are waited for, each', async () => {
  const { connect, runtime } = openRelayServer()
  const scopes = { todos: { owner: 'ada' } }
  const author = new OperationAuthor('phone')
  const record = recordIdOf('shared')
  const [first, insert, foreign, last] = deltaOf([
    author.insert(recordIdOf('other'), { owner: 'ada' }),
    author.insert(record, { owner: 'ada' }),
    author.insert(recordIdOf('foreign'), { owner: 'bob' }),
    author.update(record, { title: 'new' }),
  ])
  const phone = await connect('phone', { isPolling: true, scopes })
  for (const batch of [first, last, foreign]) if (batch !== undefined) phone.receive(batch)
  await settle()
  expect(phone.sentOfType('acknowledgment')).toHaveLength(1)

  if (insert !== undefined) phone.receive(insert)
  await runtime.advance(1000)

  expect(phone.sentOfType('operation-rejected')).toMatchObject([{ operationId: foreign?.operations[0]?.id }])
  expect(phone.sentOfType('acknowledgment')).toHaveLength(4)
})

/** A polling client that has sent all of its delta but the first batch, on which the others build. */
async function connectWithLargeBatches(count: number, bytesOfEach: number) {
  const server = openRelayServer()
  const author = new OperationAuthor('phone')
  const records = Array.from({ length: count }, (_, n) => recordIdOf(`${n}`))
  const title = 'x'.repeat(bytesOfEach / 100)
  const [late, ...others] = deltaOfBatches([
    records.map((record) => author.insert(record, { owner: 'ada' })),
    ...records.map((record) => Array.from({ length: 100 }, () => author.update(record, { title }))),
  ])
  const phone = await server.connect('phone', { isPolling: true, scopes: { todos: { owner: 'ada' } } })
  for (const batch of others) phone.receive(batch)
  await settle()
  return { ...server, phone, late: late ?? {} }
}

test('one batch is tried again over a gap, however large it is', async () => {
  const { phone, late, store, runtime } = await connectWithLargeBatches(1, 5_000_000)

  phone.receive(late)
  await runtime.advance(1000)

  expect(phone.sentOfType('acknowledgment').map((message) => message.acknowledgedMessageId)).toEqual([
    'b0',
    'b1',
  ])
  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(await store.getOperationCount()).toBe(101)
})

test('what more there is not kept, and ends the session once what is kept had its time', async () => {
  const { phone, late, runtime } = await connectWithLargeBatches(3, 3_000_000)

  phone.receive(late)
  await runtime.advance(28_000)
  expect(phone.sentOfType('acknowledgment').map((message) => message.acknowledgedMessageId)).toEqual([
    'b0',
    'b1',
  ])
  expect(phone.closed).toBeNull()

  await runtime.advance(1000)

  expect(phone.closed?.code).toBe(1013)
  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(phone.sentOfType('error')).toEqual([])
})

test('a refusal of the application over a gap is tried again, too', async () => {
  const seen: string[] = []
  const { connect, runtime } = openRelayServer({
    validateOperation: ({ data }) => {
      const title = String(data?.title)
      seen.push(title)
      if (title === 'c' && !seen.includes('b')) return { action: 'reject', code: 'TOO_EARLY', message: 'b?' }
      return { action: 'accept' }
    },
  })
  const author = new OperationAuthor('phone')
  const [a, b, c] = deltaOf(['a', 'b', 'c'].map((title) => author.insert(recordIdOf(title), { title })))
  const phone = await connect('phone', { isPolling: true })
  for (const batch of [a, c, b]) if (batch !== undefined) phone.receive(batch)
  await settle()
  expect(phone.sentOfType('acknowledgment')).toHaveLength(2)

  await runtime.advance(1000)

  expect(phone.sentOfType('acknowledgment')).toHaveLength(3)
  expect(phone.sentOfType('operation-rejected')).toEqual([])
})

test('what is refused at the end of a log comes again with the next handshake, and is judged anew', async () => {
  let accepts = false
  const { connect, store } = openRelayServer({
    validateOperation: () =>
      accepts ? { action: 'accept' } : { action: 'reject', code: 'CLOSED', message: 'Not yet.' },
  })
  const delta = deltaOf([new OperationAuthor('phone').insert(recordIdOf('a'), {})])
  const phone = await connect('phone', { isPolling: true })
  for (const batch of delta) phone.receive(batch)
  await settle()
  phone.disconnect()
  accepts = true

  const again = await connect('phone', { isPolling: true, handshake: { versionVector: { phone: 1 } } })
  for (const batch of delta) again.receive(batch)
  await settle()

  expect(phone.sentOfType('operation-rejected').map(({ code }) => code)).toEqual(['CLOSED'])
  expect(again.sentOfType('handshake-response')[0]?.versionVector).toEqual({})
  expect(again.sentOfType('operation-rejected')).toEqual([])
  expect(await store.getOperationCount()).toBe(1)
})

/** A client that polls, of whose delta each of these is accepted only once the one before it is stored. */
async function connectWithChain(names: readonly string[]) {
  const server = openRelayServer({
    validateOperation: async ({ recordId }) => {
      const before = names[names.findIndex((name) => recordIdOf(name) === recordId) - 1]
      if (before === undefined || before === 'first') return { action: 'accept' }
      const stored = await server.store.readRecordValues('todos', [recordIdOf(before)])
      if (stored.has(recordIdOf(before))) return { action: 'accept' }
      return { action: 'reject', code: 'TOO_EARLY', message: `${before}?` }
    },
  })
  const phone = await server.connect('phone', { isPolling: true })
  return { ...server, phone }
}

test('a late batch that waits for another late one has not arrived for those that wait for it', async () => {
  const names = ['first', 'b1', 'b2', 'b3']
  const { phone, store, runtime } = await connectWithChain(names)
  const author = new OperationAuthor('phone')
  const delta = deltaOf(names.map((name) => author.insert(recordIdOf(name), {})))

  for (const [index, waitMs] of [
    [0, 0],
    [3, 100],
    [2, 100],
    [1, 0],
  ] as const) {
    phone.receive(delta[index] ?? {})
    await settle()
    await runtime.advance(waitMs)
  }
  await runtime.advance(14_000)

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(phone.sentOfType('acknowledgment')).toHaveLength(4)
  expect(await store.getOperationCount()).toBe(4)
})

test('nor has one that was not late, for what follows the delta', async () => {
  const names = ['first', 'b1', 'b2', 'live']
  const { phone, store, runtime } = await connectWithChain(names)
  const author = new OperationAuthor('phone')
  const delta = deltaOf(['first', 'b1', 'b2'].map((name) => author.insert(recordIdOf(name), {})))

  for (const index of [0, 2, 1]) phone.receive(delta[index] ?? {})
  await settle()
  await runtime.advance(500)
  phone.receive(liveBatch(author))
  await settle()
  await runtime.advance(14_000)

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(await store.getOperationCount()).toBe(4)
})

test('nor has what is written later and waits for a late batch, for what builds on it', async () => {
  const { phone, store, runtime } = await connectWithChain(['first', 'b1', 'b2', 'b3'])
  const author = new OperationAuthor('phone')
  const [b1, b2, b3] = ['b1', 'b2', 'b3'].map((name) => author.insert(recordIdOf(name), {})) as Operation[]
  if (!b1 || !b2 || !b3) throw new Error('Three were made')
  phone.receive(deltaBatch([]))

  for (const operation of [b2, b1, b3]) {
    phone.receive(liveBatchOf([operation]))
    await settle()
    await runtime.advance(100)
  }
  await runtime.advance(14_000)

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(await store.getOperationCount()).toBe(3)
})

test('two late batches that are refused for themselves do not wait for each other', async () => {
  const { connect, runtime } = openRelayServer()
  const author = new OperationAuthor('phone')
  const delta = deltaOf(
    ['ada', 'bob', 'bob', 'ada'].map((owner, index) => author.insert(recordIdOf(`${index}`), { owner })),
  )
  const phone = await connect('phone', { isPolling: true, scopes: { todos: { owner: 'ada' } } })

  for (const index of [0, 3, 2, 1]) phone.receive(delta[index] ?? {})
  await runtime.advance(1000)

  expect(phone.sentOfType('operation-rejected')).toHaveLength(2)
  expect(phone.sentOfType('acknowledgment')).toHaveLength(4)
})

test('who writes no totalBatches, and owes nothing, is told of refusals at once', async () => {
  const { connect } = openRelayServer()
  const author = new OperationAuthor('phone')
  const foreign = author.insert(recordIdOf('bob'), { owner: 'bob' })
  const phone = await connect('phone', { isPolling: true, scopes: { todos: { owner: 'ada' } } })

  phone.receive({ ...liveBatch(author), operations: [foreign] })
  await settle()

  expect(phone.sentOfType('operation-rejected')).toHaveLength(1)
  expect(phone.sentOfType('acknowledgment')).toHaveLength(1)
})

test('what is foreign is refused all the same, once nothing is missing', async () => {
  const { connect } = openRelayServer()
  const scopes = { todos: { owner: 'ada' } }
  const author = new OperationAuthor('phone')
  const operations = ['ada', 'ada', 'bob'].map((owner) => author.insert(recordIdOf(owner), { owner }))
  const [first, , last] = deltaOf(operations)
  const phone = await connect('phone', { isPolling: true, scopes })
  for (const batch of [first, last]) if (batch !== undefined) phone.receive(batch)
  await settle()
  const again = await connect('phone', { isPolling: true, scopes })

  for (const batch of deltaOf(operations.slice(1))) again.receive(batch)
  await settle()

  expect(again.sentOfType('operation-rejected')).toMatchObject([
    { operationId: operations[2]?.id, code: 'SCOPE_VIOLATION' },
  ])
})

test('a connection that keeps order and loses nothing is not asked for a delta', async () => {
  const { connect, store } = openRelayServer()
  const phone = await connect('phone')

  phone.receive(liveBatch(new OperationAuthor('phone')))
  await settle()

  expect((await store.getVersionVector()).get('phone')).toBe(1)
})

test('what the application says of a record is told only to who may write it', async () => {
  const { connect, store } = openRelayServer({
    validateOperation: async ({ collection, recordId }, { kora }) => {
      const record = await kora.findById(collection, recordId)
      const secret = record === null ? 'There is none.' : `It is called ${record.title}.`
      return { action: 'reject', code: 'NOT_THAT', message: secret }
    },
  })
  await store.setSchema(
    defineSchema({
      version: 1,
      collections: { todos: { fields: { title: t.string(), owner: t.string() } } },
    }),
  )
  const adas = new OperationAuthor('tablet')
  for (const owner of ['ada', 'bob']) {
    await store.applyRemoteOperation(adas.insert(recordIdOf(owner), { title: 'x', owner }))
  }
  const author = new OperationAuthor('phone')
  const operations = ['ada', 'bob', 'nobody'].map((owner) => author.delete(recordIdOf(owner)))
  const phone = await connect('phone', { scopes: { todos: { owner: 'bob' } } })

  phone.receive({ ...liveBatch(author), operations })
  await settle()

  const told = phone.sentOfType('operation-rejected').map(({ code, message }) => [code, message])
  const outside = (name: string) =>
    `The scopes of this session do not allow writing record ${recordIdOf(name)} of todos.`
  expect(told).toEqual([
    ['SCOPE_VIOLATION', outside('ada')],
    ['NOT_THAT', 'It is called x.'],
    ['SCOPE_VIOLATION', outside('nobody')],
  ])
})

test('an operation of a schema version above those that are let in is refused by name, the rest of its batch is not', async () => {
  const { connect, store } = openRelayServer({ supportedSchemaVersions: { min: 1, max: 2 } })
  const author = new OperationAuthor('phone')
  const operations = [1, 2, 3, 2 ** 31 - 1].map((schemaVersion) =>
    author.insert(recordIdOf(`version ${schemaVersion}`), {}, { schemaVersion }),
  )
  const phone = await connect('phone')

  phone.receive({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
  await settle()

  const refused = phone.sentOfType('operation-rejected')
  expect(refused.map(({ operationId }) => operationId)).toEqual(operations.slice(2).map(({ id }) => id))
  expect(refused[0]).toMatchObject({
    code: 'SCHEMA_VIOLATION',
    message: 'It was made under schema version 3; the server supports versions up to 2.',
    retriable: false,
  })
  expect(phone.sentOfType('acknowledgment')).toHaveLength(1)
  expect(await store.getOperationCount()).toBe(2)
})

/** A store whose commits wait until the test lets them go on. */
class HeldStore extends MemoryServerStore {
  release = (): void => {}
  readonly #released = new Promise<void>((resolve) => {
    this.release = resolve
  })

  override async append(requests: Parameters<MemoryServerStore['append']>[0]): Promise<AppendResult[]> {
    await this.#released
    return [...(await super.append(requests))]
  }
}

/** A client whose first batch waits to be stored, and then sends so many that come to nothing. */
async function sendBehindCommit(count: number, operationsOf: (author: OperationAuthor) => unknown[]) {
  const store = new HeldStore({ nodeId: 'server' })
  const { connect, server } = openRelayServer({
    store,
    supportedSchemaVersions: { min: 1, max: 1 },
    maxOpsPerMinute: 0,
  })
  const author = new OperationAuthor('phone')
  const phone = await connect('phone')
  const send = (operations: unknown[]): void =>
    phone.receive({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
  send([author.insert(recordIdOf('first'), {})])
  for (let n = 0; n < count; n++) send(operationsOf(author))
  await settle()
  const { operationsReceived } = await server.getStatus()
  const release = async (): Promise<void> => {
    store.release()
    await settle()
  }
  return { phone, received: operationsReceived - 1, release }
}

test('what is refused is kept until it is answered, and counts for what one session may have on its way', async () => {
  const large = { text: 'x'.repeat(250_000) }
  const refused = (author: OperationAuthor): unknown[] => [
    author.insert(recordIdOf('refused'), large, { schemaVersion: 2 }),
  ]
  const { phone, received, release } = await sendBehindCommit(60, refused)

  expect(received).toBe(17) // 4 MiB, and one more
  expect(phone.sentOfType('acknowledgment')).toEqual([])
  await release()

  expect(phone.sentOfType('acknowledgment')).toHaveLength(61)
  expect(phone.sentOfType('operation-rejected')).toHaveLength(60)
})

test('so does what of an operation is kept that could not even be read', async () => {
  const unreadable = (): unknown[] => Array.from({ length: 1000 }, () => 1)
  const { phone, received, release } = await sendBehindCommit(30, unreadable)

  expect(received).toBeLessThanOrEqual(9000)
  await release()

  expect(phone.sentOfType('acknowledgment')).toHaveLength(31)
})

test('a session that ends while its batch waits for room lets go of it, and keeps nobody waiting', async () => {
  const store = new HeldStore({ nodeId: 'server' })
  const { connect } = openRelayServer({ store, limits: { maxQueuedBytes: 1 } })
  const connectAndSend = async (nodeId: string, data: FieldValues = {}) => {
    const client = await connect(nodeId)
    const author = new OperationAuthor(nodeId)
    const operations = Array.from({ length: 10 }, (_, n) => author.insert(recordIdOf(`${nodeId} ${n}`), data))
    client.receive({ ...liveBatch(author), operations })
    await settle()
    return client
  }
  const first = await connectAndSend('first')
  collectGarbage()
  const before = process.memoryUsage().heapUsed

  for (let n = 0; n < 10; n++) {
    const ended = await connectAndSend(`ended ${n}`, { text: String(n).repeat(200_000) })
    ended.disconnect()
  }
  const last = await connectAndSend('last')
  collectGarbage()

  expect(process.memoryUsage().heapUsed - before).toBeLessThan(10_000_000) // half of what was sent
  expect(first.sentOfType('acknowledgment')).toEqual([])
  store.release()
  await settle()
  expect(first.sentOfType('acknowledgment')).toHaveLength(1)
  expect(last.sentOfType('acknowledgment')).toHaveLength(1)
  expect([...(await store.getVersionVector()).keys()].sort()).toEqual(['first', 'last'])
})

test('nor does one that ended while the application was asked about its batch', async () => {
  const verdicts: (() => void)[] = []
  const store = new HeldStore({ nodeId: 'server' })
  const { connect } = openRelayServer({
    store,
    limits: { maxQueuedBytes: 1 },
    validateOperation: ({ nodeId }) =>
      nodeId === 'first'
        ? { action: 'accept' }
        : new Promise((resolve) => verdicts.push(() => resolve({ action: 'accept' }))),
  })
  const send = async (nodeId: string, text: string) => {
    const client = await connect(nodeId)
    const operations = [new OperationAuthor(nodeId).insert(recordIdOf(nodeId), { text })]
    client.receive({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
    await settle()
    return client
  }
  await send('first', '')
  collectGarbage()
  const before = process.memoryUsage().heapUsed

  for (let n = 0; n < 20; n++) {
    const ended = await send(`ended ${n}`, String(n % 10).repeat(200_000))
    ended.disconnect()
    verdicts.pop()?.()
    await settle()
  }
  collectGarbage()

  expect(process.memoryUsage().heapUsed - before).toBeLessThan(2_000_000) // half of what was sent
  store.release()
})

/** What a client sends once its delta is under way. */
function liveBatch(author: OperationAuthor): OperationBatchMessage {
  const operations = [author.insert(recordIdOf('live'), {})]
  return { type: 'operation-batch', messageId: 'live', operations, isFinal: true, batchIndex: 0 }
}
