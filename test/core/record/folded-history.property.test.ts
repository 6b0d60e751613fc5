import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { replayRecord } from '../../../src/core/record/fold.ts'
import { FoldedHistory } from '../../../src/core/record/folded-history.ts'
import type { CollectionDefinition } from '../../../src/core/schema/types.ts'
import { countingCollection, mergedOperationAt } from '../../support/counted-merges.ts'
import { everyKind, recordHistory, scalarsOnly } from '../../support/record-histories.ts'

/** More in nightly runs: PROPERTY_RUNS=100000. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 60)

/** Longer than what is folded again without a thought, of operations of which some have equal timestamps and ids. */
const longHistory: fc.Arbitrary<Operation[]> = fc
  .array(recordHistory, { minLength: 1, maxLength: 8 })
  .map((histories) => histories.flat().map((operation, index) => ({ ...operation, id: `id-${index % 5}` })))

const collections: [string, CollectionDefinition | null][] = [
  ['every kind of field', everyKind],
  ['scalars only', scalarsOnly],
  ['no schema', null],
]

describe.each(collections)('a record with %s', (_name, collection) => {
  test('is the replay of its history and of what was added, after each operation', () => {
    fc.assert(
      fc.property(
        longHistory,
        fc.array(
          fc.tuple(
            fc.constantFrom('refused', 'refused', 'added', 'added', 'added'),
            fc.boolean(), // folded: others were slipped in without asking for the history
          ),
          { minLength: 40, maxLength: 80 },
        ),
        (operations, fates) => {
          const before = operations.slice(0, Math.ceil(operations.length / 3))
          const history = new FoldedHistory(before, collection)
          const all = [...before]
          operations.slice(before.length).forEach((operation, index) => {
            const [fate, isFolded] = fates[index] ?? ['added', true]
            const replayed = replayRecord([...all, operation], collection)
            if (isFolded || fate === 'refused') {
              const state = history.stateWith(operation)
              expect(state).toEqual(replayed)
              expect(Object.keys(state.values)).toEqual(Object.keys(replayed?.values ?? {}))
            }
            if (fate === 'refused') return
            history.add(operation)
            all.push(operation)
          })
        },
      ),
      { numRuns: RUNS },
    )
  })
})

const places: [string, (index: number) => number][] = [
  ['one after the other', (index) => index],
  ['the later the earlier they are', (index) => -index],
  ['of two devices by turns', (index) => (index % 2 === 0 ? index : 150 - index)],
]

test.each(places)(
  'a batch of late operations, %s, costs one replay and what is later than each',
  (_order, place) => {
    const { collection, merges } = countingCollection()
    const stored = Array.from({ length: 2000 }, (_, index) => mergedOperationAt(2 * index))
    const late = Array.from({ length: 50 }, (_, index) => mergedOperationAt(2 * (1800 + place(index)) + 1))
    const history = new FoldedHistory(stored, collection)

    for (const operation of late) {
      history.stateWith(operation)
      history.add(operation)
    }

    const laterThanEach = late.reduce((sum, { timestamp }) => sum + (4000 - timestamp.wallTime) / 2 + 50, 0)
    expect(merges()).toBeLessThan(2000 + 2 * laterThanEach)
    expect(merges()).toBeLessThan(30_000) // a replay for each takes 100,000
  },
)

const wholeHistory: [string, (index: number) => number][] = [
  ['from the first to the last', (index) => 4 * index - 1800],
  ['first and last by turns', (index) => (index % 2 === 0 ? index - 1800 : 150 - index)],
]
const fates: [string, (index: number) => boolean][] = [
  ['all of them', () => true],
  ['every other one', (index) => index % 2 === 1],
  ['all but every tenth', (index) => index % 10 !== 0],
]
const refusedBatches = fates.flatMap(([who, isRefused]) =>
  [...places, ...wholeHistory].map(([order, place]) => [who, order, isRefused, place] as const),
)

test.each(refusedBatches)(
  'late operations that are refused, %s, %s, cost two replays and what is later than each',
  (_who, _order, isRefused, place) => {
    const { collection, merges } = countingCollection()
    const stored = Array.from({ length: 2000 }, (_, index) => mergedOperationAt(2 * index))
    const history = new FoldedHistory(stored, collection)
    let laterThanEach = 0

    for (let index = 0; index < 50; index++) {
      const operation = mergedOperationAt(2 * (1800 + place(index)) + 1)
      history.stateWith(operation)
      laterThanEach += 2000 - (1800 + place(index)) + history.addedCount
      if (!isRefused(index)) history.add(operation)
    }

    const shortest = 50 * 16 // so few are folded again sooner than a state of them is kept
    expect(merges()).toBeLessThan(2 * 2000 + 2 * laterThanEach + shortest)
  },
)
