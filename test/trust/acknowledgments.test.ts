import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { randomOf, seedOf, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const BATCHES = sized(1000, 10_000)
const LARGE = 'x'.repeat(3000)

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
    const random = randomOf(seedOf('acknowledgments'))
    using directory = temporaryDirectory()
    const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal' })
    await using server = await startSocketServer({
      store,
      maxOpsPerMinute: 0,
      maxOperationBytes: 2000,
      validateOperation: (operation) =>
        operation.data?.title === 'spam'
          ? { action: 'reject', code: 'SPAM', message: 'no' }
          : { action: 'accept' },
    })
    using client = await server.connect('phone', { userId: 'a', scopes: { todos: { tenant: 'a' } } })
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
          const timestamp = { wallTime: Date.now() + 3_600_000, logical: i, nodeId: 'phone' }
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

    for (let number = 0; number < BATCHES; number++) {
      const operations = Array.from({ length: Math.floor(random() * 6) }, (_, i) => {
        const wanted = KINDS[Math.floor(random() * KINDS.length)] as Kind
        const kind = good.length === 0 ? 'good' : wanted
        const operation = make(kind, number * 10 + i)
        sent.push({ kind, operation })
        return operation
      })
      client.send({
        type: 'operation-batch',
        messageId: `${number}`,
        operations,
        isFinal: true,
        batchIndex: 0,
      })
    }
    await client.until(() => client.ofType('acknowledgment').length === BATCHES)

    expect(client.ofType('acknowledgment').map((ack) => Number(ack.acknowledgedMessageId))).toEqual(
      Array.from({ length: BATCHES }, (_, i) => i),
    )
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
    const refusals = client
      .ofType('operation-rejected')
      .map(({ operationId, code }) => `${operationId} ${code}`)
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
    })
    await store.close()
  },
  timeoutMs(60_000),
)
