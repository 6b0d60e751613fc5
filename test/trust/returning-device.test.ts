import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import type { MemoryTransport } from '../support/memory-transport.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle, simulatedRuntime } from '../support/simulated-runtime.ts'

const QUEUED = 10_000
const BATCH = 100

function push(client: MemoryTransport, operations: readonly Operation[], messageId: string): void {
  client.receive({ type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 })
}

function acknowledgeAll(client: MemoryTransport): void {
  const last = client.sentOfType('operation-batch').at(-1)
  client.receive({
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: last?.messageId ?? '',
    lastSequenceNumber: 0,
    deliverySequence: last?.maxDeliverySequence ?? 0,
  })
}

test('a device that returns with 10 000 operations gets all of them stored, in order, at its rate', async () => {
  using directory = temporaryDirectory()
  const runtime = simulatedRuntime()
  const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal' })
  const { connect } = openRelayServer({ store, runtime, maxOpsPerMinute: 600 })
  const other = await connect('other')
  acknowledgeAll(other)
  const author = new OperationAuthor('phone')
  const operations = Array.from({ length: QUEUED }, (_, i) => author.insert(recordIdOf(`${i}`), { n: i }))
  const phone = await connect('phone')
  for (let start = 0; start < QUEUED; start += BATCH) {
    push(phone, operations.slice(start, start + BATCH), `${start}`)
  }
  acknowledgeAll(phone) // waits behind what the device has sent

  const others = new OperationAuthor('other')
  for (let minute = 0; minute < 17; minute++) {
    for (let round = 0; round < 12; round++) {
      await runtime.advance(5000)
      acknowledgeAll(other)
      acknowledgeAll(phone)
    }
    const before = other.sentOfType('acknowledgment').length
    push(other, [others.insert(recordIdOf(`other ${minute}`), {})], `o${minute}`)
    await settle()
    expect(other.sentOfType('acknowledgment')).toHaveLength(before + 1) // at once, without the clock moving
  }

  expect(phone.closed).toBeNull()
  expect(phone.sentOfType('acknowledgment')).toHaveLength(QUEUED / BATCH)
  const stored = await store.getOperationRange('phone', 1, QUEUED)
  expect(stored.map(({ id }) => id)).toEqual(operations.map(({ id }) => id))
  const log = await store.getOperationsAfterDelivery(0, 2 * QUEUED)
  const sequence = log.map(({ operation }) => operation).filter(({ nodeId }) => nodeId === 'phone')
  expect(sequence.map((operation) => operation.sequenceNumber)).toEqual(operations.map((_, i) => i + 1))
  await store.close()
}, 60_000)

test('a live batch that would have to wait too long is told when to come back, and is stored then', async () => {
  using directory = temporaryDirectory()
  const runtime = simulatedRuntime()
  const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal' })
  const { connect } = openRelayServer({ store, runtime, maxOpsPerMinute: 60 })
  const author = new OperationAuthor('phone')
  const batches = [0, 1, 2, 3].map((i) =>
    Array.from({ length: 60 }, (_, j) => author.insert(recordIdOf(`${i} ${j}`), {})),
  )
  let phone = await connect('phone')
  acknowledgeAll(phone)
  for (const [i, operations] of batches.entries()) {
    push(phone, operations, `${i}`)
    await settle()
    if (phone.closed === null) continue
    expect(phone.sent.at(-1)).toMatchObject({ type: 'error', code: 'RATE_LIMIT', retriable: true })
    expect(phone.sentOfType('error')[0]?.message).toMatch(/retry in \d+ s/)
    await runtime.advance(60_000)
    phone = await connect('phone')
    acknowledgeAll(phone)
    push(phone, operations, `${i}`)
    await settle()
  }

  expect(await store.getOperationCount()).toBe(240)
  await store.close()
})
