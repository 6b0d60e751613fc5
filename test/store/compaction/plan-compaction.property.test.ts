import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AtomicOp, FieldValues, JsonValue, Operation } from '../../../src/core/operation.ts'
import { replayRecord } from '../../../src/core/record/fold.ts'
import type { CollectionDefinition } from '../../../src/core/schema/types.ts'
import { operationToWireJson } from '../../../src/protocol/parse-operation.ts'
import { toTrace } from '../../../src/store/compaction/compaction.ts'
import { planCompaction } from '../../../src/store/compaction/plan-compaction.ts'
import type { LogEntry } from '../../../src/store/store.ts'
import { withId } from '../../support/operation-author.ts'
import { everyKind, recordHistory, scalarsOnly } from '../../support/record-histories.ts'

const FOREVER = Number.POSITIVE_INFINITY

const scalar = fc.record(
  {
    title: fc.constantFrom<JsonValue>('a', 'b', 'c'),
    count: fc.integer({ min: 0, max: 3 }) as fc.Arbitrary<JsonValue>,
    likes: fc.constantFrom(1, 2),
  },
  { requiredKeys: [] },
)
const merged = fc.record(
  {
    tags: fc.array(fc.constantFrom('x', 'y'), { maxLength: 2 }),
    meta: fc.constantFrom<JsonValue>({ a: 1 }, [2]),
  },
  { requiredKeys: [] },
)

/** Most operations are what a form writes; the rest is everything else that there is. */
const step = fc.record({
  data: fc.oneof(
    { weight: 12, arbitrary: scalar },
    { weight: 1, arbitrary: merged },
    { weight: 1, arbitrary: fc.tuple(scalar, merged).map(([a, b]) => ({ ...a, ...b })) },
  ),
  previousData: fc.oneof(scalar, merged),
  type: fc.constantFrom<Operation['type']>(...Array(40).fill('update'), 'delete', 'insert'),
  isIncrement: fc.constantFrom(...Array(9).fill(false), true),
  wallTime: fc.integer({ min: 1, max: 30 }),
  nodeId: fc.constantFrom('node-a', 'node-b', 'node-c'),
})

function toOperation(
  { data, type, isIncrement, wallTime, nodeId, previousData }: Step,
  logical: number,
): Operation {
  const values = data as FieldValues
  const atomic: AtomicOp = { type: 'increment', value: 1 }
  return withId({
    id: '',
    nodeId,
    type,
    collection: 'todos',
    recordId: 'r1',
    data: type === 'delete' ? null : values,
    previousData: type === 'update' ? (previousData as FieldValues) : null,
    timestamp: { wallTime, logical, nodeId },
    sequenceNumber: logical + 1,
    causalDeps: [],
    schemaVersion: 1,
    ...(isIncrement && type === 'update' && 'count' in values && { atomicOps: { count: atomic } }),
  })
}

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never

const history = fc.tuple(scalar, fc.array(step, { minLength: 2, maxLength: 16 })).map(([values, steps]) => {
  const insert = toOperation(
    {
      data: { title: 'new', count: 0, ...values },
      previousData: {},
      type: 'insert',
      isIncrement: false,
      wallTime: 0,
      nodeId: 'node-a',
    },
    0,
  )
  return [insert, ...steps.map((part, index) => toOperation(part, index + 1))]
})

/** What may still come: any operations, with any clocks. */
const later = fc
  .array(step, { maxLength: 5 })
  .map((steps) => steps.map((part, index) => toOperation(part, 100 + index)))

function entriesOf(operations: readonly Operation[]): LogEntry[] {
  return operations.map((operation, index) => ({
    kind: 'operation',
    deliverySequence: index + 1,
    operationId: operation.id,
    nodeId: operation.nodeId,
    sequenceNumber: operation.sequenceNumber,
    collection: operation.collection,
    recordId: operation.recordId,
    wireJson: operationToWireJson(operation),
    scopeChanges: [],
  }))
}

function compact(operations: readonly Operation[], collection: CollectionDefinition): Operation[] {
  const plan = planCompaction(entriesOf(operations), { collection, writtenBefore: FOREVER })
  const dropped = new Set(plan.map(({ operation }) => operation.id))
  const traces = plan.map(({ entry, operation: { timestamp } }) => toTrace({ ...entry, ...timestamp }))
  return [...operations.filter(({ id }) => !dropped.has(id)), ...traces]
}

for (const [name, collection] of [
  ['every kind of field', everyKind],
  ['scalars', scalarsOnly],
] as const) {
  test(`a compacted record of ${name} folds to the same state, whatever arrives later`, () => {
    let dropped = 0
    fc.assert(
      fc.property(history, later, (operations, late) => {
        const rest = compact(operations, collection)
        dropped += operations.filter((operation) => !rest.includes(operation)).length
        expect(replayRecord(rest, collection)).toEqual(replayRecord(operations, collection))
        expect(replayRecord([...rest, ...late], collection)).toEqual(
          replayRecord([...operations, ...late], collection),
        )
      }),
      { numRuns: 500 },
    )
    expect(dropped).toBeGreaterThan(250)
  })
}

test('a record of which only the first operations were read folds to the same state', () => {
  fc.assert(
    fc.property(history, fc.nat({ max: 14 }), (operations, length) => {
      const [read, unread] = [operations.slice(0, length), operations.slice(length)]
      expect(replayRecord([...compact(read, everyKind), ...unread], everyKind)).toEqual(
        replayRecord(operations, everyKind),
      )
    }),
    { numRuns: 300 },
  )
})

test('whatever the history looks like, what is dropped is not missed', () => {
  fc.assert(
    fc.property(recordHistory, recordHistory, (raw, rawLate) => {
      const operations = raw.map((operation, index) => withId({ ...operation, sequenceNumber: index + 1 }))
      const late = rawLate.map((operation) => withId({ ...operation, nodeId: 'late' }))
      const rest = compact(operations, everyKind)
      expect(replayRecord([...rest, ...late], everyKind)).toEqual(
        replayRecord([...operations, ...late], everyKind),
      )
    }),
    { numRuns: 300 },
  )
})
