import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { type SimulatedRuntime, settle, simulatedRuntime } from '../support/simulated-runtime.ts'
import { randomOf, type SocketClient, seedOf, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, timeoutMs } from '../support/trust.ts'

const BATCHES = 10_000
const LARGE = 'x'.repeat(3000)
const OPS_PER_MINUTE = 300
/** So many at once would have to wait for longer than a client waits, where some have come before. */
const BURST = 200
const BURST_EVERY = 200
/** Batches that are sent without waiting. */
const PIPELINE = 20

type Kind = 'good' | 'duplicate' | 'oversized' | 'foreign' | 'future' | 'malformed' | 'forged' | 'spam'
const CODES: { readonly [K in Kind]: string | null } = {
  good: null,
  duplicate: null,
  oversized: 'OPERATION_TOO_LARGE',
  foreign: 'SCOPE_VIOLATION',
  future: 'INVALID_TIMESTAMP',
  malformed: 'INVALID_OPERATION',
  forged: 'ID_CONFLICT',
  spam: 'SPAM',
}
const KINDS = Object.keys(CODES) as Kind[]

test(
  'every operation is stored or refused by its name, once, before its batch is acknowledged',
  async () => {
    const seed = seedOf('acknowledgments')
    const random = randomOf(seed)
    const runtime = simulatedRuntime()
    using directory = temporaryDirectory()
    const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal' })
    await using server = await startSocketServer({
      store,
      runtime,
      limits: { handshakeTimeoutMs: 3_600_000 }, // of a clock that leaps
      maxOpsPerMinute: OPS_PER_MINUTE,
      maxOperationBytes: 2000,
      validateOperation: (operation) =>
        operation.data?.title === 'spam'
          ? { action: 'reject', code: 'SPAM', message: 'no' }
          : { action: 'accept' },
    })
    const author = new OperationAuthor('phone')
    const sent: { kind: Kind; operation: Operation }[] = []
    const good: Operation[] = []

    function make(kind: Kind, i: number): Operation {
      const data = { tenant: 'a', title: `${i}` }
      const recordId = recordIdOf(`${i}`)
      const known = good[Math.floor(random() * good.length)]
      switch (kind) {
        case 'duplicate':
          return known ?? make('good', i)
        case 'forged': // what its content leads to is another id
          return known === undefined
            ? make('good', i)
            : { ...author.insert(recordId, { ...data, title: `forged ${i}` }), id: known.id }
        case 'oversized':
          return author.insert(recordId, { ...data, title: LARGE })
        case 'foreign':
          return author.insert(recordId, { ...data, tenant: 'b' })
        case 'future': {
          const timestamp = { wallTime: Date.now() + 3_600_000 + i, logical: 0, nodeId: 'phone' }
          return withId({ ...author.insert(recordId, data), timestamp })
        }
        case 'malformed':
          return { ...author.insert(recordId, data), sequenceNumber: -1 }
        case 'spam':
          return author.insert(recordId, { ...data, title: 'spam' })
        default: {
          const operation = author.insert(recordId, data)
          good.push(operation)
          return operation
        }
      }
    }

    const batches = Array.from({ length: BATCHES }, (_, number) => {
      const size = number % BURST_EVERY === BURST_EVERY - 1 ? BURST : Math.floor(random() * 6)
      return Array.from({ length: size }, (_, i) => {
        const wanted = KINDS[Math.floor(random() * KINDS.length)] as Kind
        const kind = good.length === 0 ? 'good' : wanted
        const operation = make(kind, number * BURST + i)
        sent.push({ kind, operation })
        return operation
      })
    })
    const acknowledged: number[] = []
    const refusals: string[] = []
    let refusedByRate = 0
    while (acknowledged.length < BATCHES) {
      const position = { lastDeliverySequence: await store.getMaxDeliverySequence() }
      using client = await server.connect(
        'phone',
        { userId: 'a', scopes: { todos: { tenant: 'a' } } },
        position,
      )
      await sendFrom(acknowledged.length, batches, client, runtime)
      acknowledged.push(...client.ofType('acknowledgment').map((ack) => Number(ack.acknowledgedMessageId)))
      refusals.push(
        ...client.ofType('operation-rejected').map(({ operationId, code }) => `${operationId} ${code}`),
      )
      if (!client.isEnded) continue
      expect(client.received.at(-1)).toMatchObject({ type: 'error', code: 'RATE_LIMIT', retriable: true })
      refusedByRate++
    }

    expect(acknowledged).toEqual(batches.map((_, number) => number))
    expect(refusedByRate).toBeGreaterThan(BATCHES / BURST_EVERY / 2)
    const stored = new Set<string>()
    for (let after = 0; ; ) {
      const page = await store.getOperationsAfterDelivery(after, 1000)
      if (page.length === 0) break
      for (const { operation, deliverySequence } of page) {
        expect(stored.has(operation.id)).toBe(false)
        stored.add(operation.id)
        after = deliverySequence
      }
    }
    const expected = sent.flatMap(({ kind, operation }) =>
      CODES[kind] === null ? [] : [`${operation.id} ${CODES[kind]}`],
    )
    expect(refusals).toEqual(expected)
    expect([...stored].sort()).toEqual(good.map(({ id }) => id).sort())
    reportFigures('acknowledgments', {
      batches: BATCHES,
      operations: sent.length,
      stored: stored.size,
      refused: refusals.length,
      'batches refused by the rate and sent again': refusedByRate,
      seed,
    })
    await store.close()
  },
  timeoutMs(120_000),
)

/** Sends batches until the last is acknowledged, or the connection has ended. */
async function sendFrom(
  first: number,
  batches: readonly (readonly Operation[])[],
  client: SocketClient,
  runtime: SimulatedRuntime,
): Promise<void> {
  let next = first
  for (;;) {
    const answered = first + client.ofType('acknowledgment').length
    if (answered === batches.length || client.isEnded) return
    for (; next < batches.length && next < answered + PIPELINE; next++) {
      const operations = batches[next] ?? []
      client.send({ type: 'operation-batch', messageId: `${next}`, operations, isFinal: true, batchIndex: 0 })
    }
    const heard = client.received.length
    await settle()
    // The clock stands while there is something to do: what is over the rate waits, or is refused.
    if (client.received.length === heard) await runtime.advance(10_000)
  }
}
