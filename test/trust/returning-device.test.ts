import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { Bystander } from '../support/bystander.ts'
import { sleep } from '../support/cluster.ts'
import { startDaemon } from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import type { MemoryTransport } from '../support/memory-transport.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle, simulatedRuntime } from '../support/simulated-runtime.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { IS_FULL, percentile, reportFigures, timeoutMs } from '../support/trust.ts'

const QUEUED = 10_000
const RATE = 600 // operations of one device a minute
/** In turn: a small batch that would not wait for a large one before it would be stored too early. */
const BATCHES = [150, 50]
const MINUTES = 17
const ROUNDS_A_MINUTE = 12 // in each of which the other device writes
const WARM_UP_MS = 10_000
const OBSERVED_MS = 120_000
const MAX_RATIO = 2

function push(client: MemoryTransport, operations: readonly Operation[], messageId: string): void {
  client.receive({ type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 })
}

test('a device that returns with 10 000 operations gets all of them stored, in order, at its rate', async () => {
  using directory = temporaryDirectory()
  const runtime = simulatedRuntime()
  const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal' })
  const { connect } = openRelayServer({ store, runtime, maxOpsPerMinute: RATE })
  const other = await connect('other')
  other.acknowledgeAll()
  const [author, others] = [new OperationAuthor('phone'), new OperationAuthor('other')]
  const operations = Array.from({ length: QUEUED }, (_, i) => author.insert(recordIdOf(`${i}`), { n: i }))
  const phone = await connect('phone')
  let sent = 0
  for (let start = 0; start < QUEUED; sent++) {
    const length = BATCHES[sent % BATCHES.length] ?? 0
    push(phone, operations.slice(start, start + length), `${start}`)
    start += length
  }
  phone.acknowledgeAll() // waits behind what the device has sent

  let waited = 0
  let mostAhead = 0
  for (let round = 0; round < MINUTES * ROUNDS_A_MINUTE; round++) {
    await runtime.advance(5000)
    const due = RATE + (RATE / ROUNDS_A_MINUTE) * (round + 1) // a minute's worth may come at once
    mostAhead = Math.max(mostAhead, (await store.getOperationCount()) - round - due)
    other.acknowledgeAll()
    phone.acknowledgeAll()
    const before = other.sentOfType('acknowledgment').length
    push(other, [others.insert(recordIdOf(`other ${round}`), {})], `o${round}`)
    await settle()
    if (other.sentOfType('acknowledgment').length !== before + 1) waited++ // at once, without the clock moving
  }

  expect(phone.closed).toBeNull()
  expect(phone.sentOfType('acknowledgment')).toHaveLength(sent)
  const stored = await store.getOperationRange('phone', 1, QUEUED)
  expect(stored.map(({ id }) => id)).toEqual(operations.map(({ id }) => id))
  const log = await store.getOperationsAfterDelivery(0, 2 * QUEUED)
  const sequence = log.map(({ operation }) => operation).filter(({ nodeId }) => nodeId === 'phone')
  expect(sequence.map((operation) => operation.sequenceNumber)).toEqual(operations.map((_, i) => i + 1))
  reportFigures('a device that returns', {
    'operations stored in order': stored.length,
    minutes: MINUTES,
    'writes of another that waited for it': waited,
  })
  expect(mostAhead).toBeLessThanOrEqual(0)
  expect(waited).toBe(0)
  await store.close()
}, 60_000)

test.runIf(IS_FULL)(
  'others do not wait for a device that returns',
  async () => {
    await using daemon = await startDaemon({
      args: ['--schema', 'schema.mjs'],
      files: {
        'schema.mjs': schemaFile(),
        'kora.config.mjs': `export default { limits: { maxOpsPerMinute: ${RATE} } }`,
      },
    })
    const { url } = daemon
    const options = { url, token: 'bystander', maxWaitMs: 10_000, pauseMs: (2 * 60_000) / RATE }
    await using bystander = await Bystander.start(options)
    await bystander.during(() => sleep(WARM_UP_MS))

    const idle = await bystander.during(() => sleep(OBSERVED_MS))
    await using phone = await openDevice({ url, schema: todoSchema, name: 'phone', isOnline: false })
    for (let n = 0; n < QUEUED; n++) phone.insert('todos', { title: `${n}` })
    const beside = await bystander.during(async () => {
      phone.goOnline()
      await sleep(OBSERVED_MS)
    })

    const [idleMs, besideMs] = [percentile(idle.waitsMs, 0.99), percentile(beside.waitsMs, 0.99)]
    reportFigures('another device beside one that returns', {
      'operations queued': QUEUED,
      'stored meanwhile': phone.journal.acknowledgedIds.size,
      'writes observed': beside.waitsMs.length,
      'ms idle (p99)': idleMs,
      'ms beside it (p99)': besideMs,
    })
    expect(phone.pendingCount).toBeGreaterThan(0)
    expect(phone.journal.acknowledgedIds.size).toBeGreaterThan(0)
    expect(besideMs).toBeLessThan(MAX_RATIO * idleMs)
  },
  timeoutMs(0),
)

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
  phone.acknowledgeAll()
  let told = 0
  for (const [i, operations] of batches.entries()) {
    push(phone, operations, `${i}`)
    await settle()
    if (phone.closed === null) continue
    told++
    expect(phone.sent.at(-1)).toMatchObject({ type: 'error', code: 'RATE_LIMIT', retriable: true })
    expect(phone.sentOfType('error')[0]?.message).toMatch(/retry in 60 s$/) // then there is room for all of it
    await runtime.advance(60_000)
    phone = await connect('phone')
    phone.acknowledgeAll()
    push(phone, operations, `${i}`)
    await settle()
  }

  expect(told).toBe(batches.length - 1) // a new connection begins with a minute's worth
  expect(await store.getOperationCount()).toBe(240)
  await store.close()
})
