import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { replayRecord } from '../../../src/core/record/fold.ts'
import type { RecordState } from '../../../src/core/record/state.ts'
import type { CollectionDefinition } from '../../../src/core/schema/types.ts'
import type { ScopeChange } from '../../../src/core/view.ts'
import { scopeChangesOf } from '../../../src/store/append/scope-changes.ts'
import { type FieldHistory, fieldHistoryOf } from '../../../src/store/delivery/field-history.ts'
import { countingCollection, mergedOperationAt } from '../../support/counted-merges.ts'
import { everyKind, recordHistory, scalarsOnly } from '../../support/record-histories.ts'

/** More in nightly runs: PROPERTY_RUNS=100000. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 60)

const FIELDS = ['title', 'count', 'likes', 'best', 'tags', 'log', 'meta', 'body', 'sum', 'odd', 'ghost']

/** Of operations in an order of arrival that has little to do with their clocks; some have equal ones. */
const longHistory: fc.Arbitrary<Operation[]> = fc
  .array(recordHistory, { minLength: 1, maxLength: 5 })
  .map((histories) => histories.flat().map((operation, index) => ({ ...operation, id: `id-${index % 5}` })))

const collections: [string, CollectionDefinition | null][] = [
  ['every kind of field', everyKind],
  ['scalars only', scalarsOnly],
  ['no schema', null],
]

/** By the replay of what was there before and after each operation. */
function replayedHistoryOf(
  operations: readonly Operation[],
  field: string,
  collection: CollectionDefinition | null,
): FieldHistory {
  const changes: (ScopeChange | undefined)[] = []
  const moves: number[] = []
  for (const [index, operation] of operations.entries()) {
    const before = replayRecord(operations.slice(0, index), collection)
    const after = replayRecord(operations.slice(0, index + 1), collection) as RecordState // of at least one
    const [change] = scopeChangesOf(before, after, [field], operation)
    changes.push(change)
    // The first insert behind updates: clients have dropped these, and are sent them anew.
    const isLate = operation.type === 'insert' && before?.lastInsertAt === null
    if (change?.before !== undefined || (change !== undefined && isLate)) moves.push(index)
  }
  return { changes, moves }
}

describe.each(collections)('the history of a field of a record with %s', (_name, collection) => {
  test('is that of the replays after each operation', () => {
    fc.assert(
      fc.property(longHistory, fc.constantFrom(...FIELDS), (operations, field) => {
        const replayed = replayedHistoryOf(operations, field, collection)

        expect(fieldHistoryOf(operations, field, collection, false)).toEqual(replayed)
      }),
      { numRuns: RUNS },
    )
  })
})

/** How many operations that were there before each have a later clock. */
function laterThanEach(operations: readonly Operation[]): number[] {
  return operations.map(
    ({ timestamp }, index) =>
      operations.slice(0, index).filter((other) => other.timestamp.wallTime > timestamp.wallTime).length,
  )
}

test.each([
  ['of a device whose clock is behind', (index: number) => (index % 2 === 0 ? 2 * index : 2 * index - 19)],
  ['that come together at the end', (index: number) => (index < 1900 ? 2 * index : 2 * (3700 - index) + 1)],
  ['of which there is one', (index: number) => (index < 1999 ? 2 * index : 3801)],
])('late operations cost one replay and what is later than each: %s', (_name, wallTimeOf) => {
  const { collection, merges } = countingCollection()
  const operations = Array.from({ length: 2000 }, (_, index) => mergedOperationAt(wallTimeOf(index)))
  const late = laterThanEach(operations).filter((later) => later > 0)

  fieldHistoryOf(operations, 'sum', collection, false)

  const refolded = late.reduce((sum, later) => sum + 2 * later + 16, 0)
  expect(merges()).toBeLessThan(2 * 2000 + refolded)
  expect(merges()).toBeLessThan(45_000) // a replay for each takes up to a million
})
