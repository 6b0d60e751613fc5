import { afterAll, expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import { DEFAULT_DECODE_LIMITS, decodeFrame } from '../../src/protocol/codec.ts'
import type { ReceivedOperation } from '../../src/protocol/messages.ts'
import { describeEachStore } from '../support/each-store.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { seedOf } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const CHANGES: ((operation: Operation) => Operation)[] = [
  (operation) => ({ ...operation, data: { ...operation.data, title: 'forged' } }),
  (operation) => ({ ...operation, recordId: recordIdOf('another') }),
  (operation) => ({ ...operation, collection: 'notes' }),
  (operation) => ({ ...operation, nodeId: 'mallory' }),
  (operation) => ({ ...operation, timestamp: { ...operation.timestamp, logical: 1 } }),
  (operation) => ({ ...operation, atomicOps: { title: { type: 'append', value: 'x' } } }),
]

/** Parts of an operation that its id is made from, and one that may differ between two sendings. */
const MUTATED = ['data', 'timestamp', 'collection', 'recordId', 'atomicOps', 'type', 'previousData'] as const

/** On each of three stores. */
const FORGERIES = sized(33_334, 100_000)
/** Of 50 operations each. */
const SQUATTED = sized(2, 200)

const totals = {
  forgeries: 0,
  'malformed and refused before': 0,
  accepted: 0,
  'ids taken in advance': 0,
  'honest operations refused': 0,
}
afterAll(() => reportFigures('operation ids', totals))

/** Other content under the id of an operation: one of the changes that matter, or whatever a mutator makes. */
function forgeryOf(operation: Operation, mutator: Mutator): object {
  if (mutator.random() < 0.3) {
    const { id, ...content } = mutator.pick(CHANGES)(operation)
    return { ...content, id, previousData: { title: mutator.below(1000) } }
  }
  const part = mutator.pick(MUTATED)
  return { ...operation, [part]: mutator.json(operation[part] ?? {}) }
}

/** What the server makes of operations that a client sends. */
function received(operations: readonly object[]): readonly ReceivedOperation[] {
  const message = { type: 'operation-batch', messageId: 'm', operations, isFinal: true, batchIndex: 0 }
  const bytes = Buffer.from(JSON.stringify(message))
  const batch = decodeFrame({ isBinary: false, bytes }, DEFAULT_DECODE_LIMITS)
  return batch.type === 'operation-batch' ? batch.operations : []
}

describeEachStore('operation ids', (openStore) => {
  test(
    'other content under a stored id changes nothing, whatever is changed',
    async () => {
      await using store = await openStore()
      const mutator = new Mutator(seedOf('forged content'))
      const author = new OperationAuthor('alice')
      const stored = Array.from({ length: 50 }, (_, i) =>
        author.insert(recordIdOf(`${i}`), { title: `${i}`, n: mutator.below(100) }),
      )
      await appendAll(store, stored)
      const changed = stored.flatMap((operation) => CHANGES.map((change) => change(operation)))
      expect(new Set(await appendAll(store, changed))).toEqual(new Set(['ID_CONFLICT']))

      for (let count = 0; count < FORGERIES; ) {
        const sent = Array.from({ length: 100 }, () => forgeryOf(mutator.pick(stored), mutator))
        const read = received(sent).flatMap((each) => (each.ok ? [each] : []))
        const results = await appendAll(
          store,
          read.map(({ operation }) => operation),
        )
        for (const [index, { operation, wireJson }] of read.entries()) {
          const isUnchanged = computeOperationId(operation) === operation.id
          if (results[index] !== (isUnchanged ? 'duplicate' : 'ID_CONFLICT')) {
            expect.fail(`${results[index]}: ${wireJson}`)
          }
        }
        count += read.length
        totals.forgeries += read.length
        totals['malformed and refused before'] += sent.length - read.length
      }

      expect(await store.getOperationCount()).toBe(50)
      const log = await store.getOperationsAfterDelivery(0, 100)
      expect(log.map(({ operation }) => operation)).toEqual(stored)
      expect(await appendAll(store, stored)).toEqual(stored.map(() => 'duplicate'))
    },
    timeoutMs(60_000),
  )

  test(
    'the id of an operation that is yet to come cannot be taken from it',
    async () => {
      await using store = await openStore()
      const honest = new OperationAuthor('alice')
      const mallory = new OperationAuthor('mallory')
      const nobody = new OperationAuthor('nobody')

      for (let batch = 0; batch < SQUATTED; batch++) {
        const recordIds = Array.from({ length: 50 }, (_, i) => recordIdOf(`${batch}/${i}`))
        const own = recordIds.map((recordId) => honest.insert(recordId, { title: 'honest' }))
        const squatters = [mallory, nobody].map((author) =>
          own.map(({ id }, i) => ({
            ...author.insert(recordIdOf(`${author.nodeId} ${batch}/${i}`), { title: author.nodeId }),
            id,
          })),
        )
        const all = (result: string) => own.map(() => result)

        expect(await appendAll(store, squatters[0] ?? [])).toEqual(all('applied'))
        expect(await appendAll(store, squatters[1] ?? [])).toEqual(all('ID_CONFLICT'))
        expect(await appendAll(store, own)).toEqual(all('applied'))

        expect(await appendAll(store, own)).toEqual(all('duplicate'))
        expect(await appendAll(store, squatters.flat())).toEqual([
          ...all('ID_CONFLICT'),
          ...all('ID_CONFLICT'),
        ])
        const values = await store.readRecordValues('todos', recordIds)
        expect([...values.values()].map((record) => record.values)).toEqual(own.map(({ data }) => data))
        totals['ids taken in advance'] += own.length
      }
      const log = await store.getOperationsAfterDelivery(0, 100)
      const nodes = [...Array(50).fill('mallory'), ...Array(50).fill('alice')]
      expect(log.map(({ operation }) => operation.nodeId)).toEqual(nodes)
    },
    timeoutMs(60_000),
  )

  test('nor within one batch, nor does it keep the rest of the batch from being stored', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('alice')
    const honest = author.insert(recordIdOf('r'), { title: 'honest' })
    const other = author.insert(recordIdOf('s'), { title: 'other' })
    const squatter = {
      ...new OperationAuthor('mallory').insert(recordIdOf('m'), { title: 'm' }),
      id: honest.id,
    }

    expect(await appendAll(store, [squatter, honest, other])).toEqual(['applied', 'applied', 'applied'])

    expect(await appendAll(store, [other, honest, squatter])).toEqual([
      'duplicate',
      'duplicate',
      'ID_CONFLICT',
    ])
  })

  test('an operation whose id does not follow from its content is stored once', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('alice')
    const undefinedField = { ...author.insert(recordIdOf('r'), { title: 'a' }), id: 'ab'.repeat(32) }

    expect(await appendAll(store, [undefinedField])).toEqual(['applied'])
    expect(await appendAll(store, [undefinedField])).toEqual(['duplicate'])
  })
})
