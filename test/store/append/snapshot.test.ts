import { expect, test } from 'vitest'
import type { Timestamp } from '../../../src/core/operation.ts'
import type { RecordState } from '../../../src/core/record/state.ts'
import { authorSnapshot } from '../../../src/store/append/snapshot.ts'

/** A record whose fields were written one by one, each at its own time, but for every tenth. */
function recordOf(fieldCount: number, timestampOf: (wallTime: number) => Timestamp): RecordState {
  const fields = Array.from({ length: fieldCount }, (_, index) => `f${index}`)
  const versions = fields.map((field, index) => {
    const timestamp = timestampOf(2000 + (index % 10 === 0 ? 0 : fieldCount - index))
    return [field, { timestamp, writer: 'plain' }] as const
  })
  return {
    values: Object.fromEntries(fields.map((field, index) => [field, index])),
    fieldVersions: Object.fromEntries(versions),
    isDeleted: false,
    isEncrypted: false,
    isSealed: false,
    hasSkipped: false,
    createdAt: 1000,
    updatedAt: 2000,
    lastInsertAt: timestampOf(1000),
    lastDeleteAt: null,
    newest: { timestamp: timestampOf(2000 + fieldCount), operationId: 'o' },
  }
}

function snapshotOf(state: RecordState) {
  const place = { collection: 'todos', recordId: 'r1', trackedFields: [], serverNodeId: 'server' }
  return authorSnapshot({ ...place, state, schemaVersion: 1 })
}

function at(wallTime: number): Timestamp {
  return { wallTime, logical: 0, nodeId: 'n' }
}

test('a record is built from its insert and one update for each later write, in the order of the writes', () => {
  const operations = snapshotOf(recordOf(20, at))

  expect(operations.map(({ type }) => type)).toEqual(['insert', ...Array(19).fill('update')])
  const [, first, ...others] = operations
  expect({ ...first?.data }).toEqual({ f0: 0, f10: 10 })
  expect(others.map(({ data }) => Object.keys(data ?? {}))).toEqual(
    [19, 18, 17, 16, 15, 14, 13, 12, 11, 9, 8, 7, 6, 5, 4, 3, 2, 1].map((index) => [`f${index}`]),
  )
})

test('the work grows with the number of writes, and not with its square', () => {
  let looks = 0
  class WatchedTimestamp implements Timestamp {
    readonly logical = 0
    readonly nodeId = 'n'
    readonly #wallTime: number

    constructor(wallTime: number) {
      this.#wallTime = wallTime
    }

    get wallTime(): number {
      looks++
      return this.#wallTime
    }
  }
  const looksFor = (fieldCount: number): number => {
    looks = 0
    snapshotOf(recordOf(fieldCount, (wallTime) => new WatchedTimestamp(wallTime)))
    return looks
  }

  const few = looksFor(200)

  expect(looksFor(2000)).toBeLessThan(15 * few) // ten times as much, and a little more to sort
})
