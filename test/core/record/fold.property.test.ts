import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalJson } from '../../../src/core/canonical-json.ts'
import { compareOperations } from '../../../src/core/clock.ts'
import type { Operation } from '../../../src/core/operation.ts'
import { isEncryptedPayload } from '../../../src/core/record/binary-values.ts'
import { parseRecordState, serializeRecordState } from '../../../src/core/record/codec.ts'
import { applyOperation, foldOperation, replayRecord } from '../../../src/core/record/fold.ts'
import type { RecordState } from '../../../src/core/record/state.ts'
import type { CollectionDefinition } from '../../../src/core/schema/types.ts'
import { everyKind, honestHistory, recordHistory, scalarsOnly } from '../../support/record-histories.ts'

/** More in nightly runs: PROPERTY_RUNS=100000. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 1000)

const collections: [string, CollectionDefinition | null][] = [
  ['every kind of field', everyKind],
  ['scalars only', scalarsOnly],
  ['no schema', null],
]

describe.each(collections)('a record with %s', (_name, collection) => {
  const fastCount = { late: 0, fast: 0 }

  test.each([
    ['any history', recordHistory],
    ['an honest history', honestHistory],
  ])('is the replay of its operations after each arrival: %s', (_kind, histories) => {
    fc.assert(
      fc.property(histories, (operations) => {
        let state: RecordState | null = null
        operations.forEach((operation, index) => {
          const arrived = operations.slice(0, index + 1)
          const before: string = canonicalJson(state)
          const applied = applyOperation(state, operation, collection)
          const replayed = replayRecord(arrived, collection)
          countLate(state, operation, applied)
          if (applied !== 'needs-replay') expect(applied).toEqual(replayed)
          expect(canonicalJson(state)).toBe(before)
          state = throughStorage(replayed)
        })
      }),
      { numRuns: RUNS },
    )
  })

  test('has its fields in one order, whether its state was kept in memory or read from a store', () => {
    fc.assert(
      fc.property(recordHistory, (operations) => {
        let kept: RecordState | null = null
        let read: RecordState | null = null
        operations.forEach((operation, index) => {
          const arrived = operations.slice(0, index + 1)
          kept = afterArrival(kept, operation, arrived)
          read = throughStorage(afterArrival(read, operation, arrived))
          expect(Object.keys(read?.values ?? {})).toEqual(Object.keys(kept?.values ?? {}))
        })
      }),
      { numRuns: RUNS },
    )
  })

  test('folds some late operations without their log', () => {
    expect(fastCount.fast).toBeGreaterThan(fastCount.late / 10)
  })

  test('is the same for every order of the same operations', () => {
    fc.assert(
      fc.property(
        recordHistory.chain((operations) =>
          fc.tuple(
            fc.constant(operations),
            fc.shuffledSubarray(operations, { minLength: operations.length }),
          ),
        ),
        ([operations, shuffled]) => {
          expect(replayRecord(shuffled, collection)).toEqual(replayRecord(operations, collection))
        },
      ),
      { numRuns: 500 },
    )
  })

  test('is encrypted if an encrypted operation is newer than its newest insert in the clear', () => {
    fc.assert(
      fc.property(recordHistory, (operations) => {
        const written = operations
          .filter(({ type, data }) => type !== 'delete' && data !== null)
          .toSorted(compareOperations)
        const isHidden = ({ data }: Operation) => isEncryptedPayload(data)
        const lastHidden = written.findLastIndex(isHidden)
        const lastClearInsert = written.findLastIndex(
          (operation) => operation.type === 'insert' && !isHidden(operation),
        )
        const isEncrypted = lastHidden > lastClearInsert
        expect(replayRecord(operations, collection)).toMatchObject({ isEncrypted })
      }),
      { numRuns: RUNS },
    )
  })

  function afterArrival(
    state: RecordState | null,
    operation: Operation,
    arrived: readonly Operation[],
  ): RecordState | null {
    const applied = applyOperation(state, operation, collection)
    return applied === 'needs-replay' ? replayRecord(arrived, collection) : applied
  }

  function countLate(
    state: RecordState | null,
    operation: Operation,
    applied: RecordState | 'needs-replay',
  ): void {
    if (state === null || applied === 'needs-replay' || applied.newest.operationId !== operation.id) {
      if (state !== null) fastCount.late++
      if (state !== null && applied !== 'needs-replay') fastCount.fast++
    }
  }
})

test('in order, the fold of each operation and the replay of all give the same', () => {
  fc.assert(
    fc.property(honestHistory, (operations) => {
      const sorted = operations.toSorted((a, b) =>
        a.timestamp.wallTime === b.timestamp.wallTime
          ? a.timestamp.logical - b.timestamp.logical
          : a.timestamp.wallTime - b.timestamp.wallTime,
      )
      let state: RecordState | null = null
      for (const operation of sorted) state = throughStorage(foldOperation(state, operation, everyKind))
      expect(state).toEqual(replayRecord(operations, everyKind))
    }),
    { numRuns: 500 },
  )
})

/** A state as a store reads it back. */
function throughStorage(state: RecordState | null): RecordState | null {
  if (state === null) return null
  const read = parseRecordState(serializeRecordState(state))
  expect(read).toEqual(state)
  return read
}
