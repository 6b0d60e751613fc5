import fc from 'fast-check'
import { expect, test } from 'vitest'
import { loadSqliteDriver, type SqliteDatabase } from '../../../src/store/sqlite/driver.ts'
import { LAYOUT_STATEMENTS } from '../../../src/store/sqlite/layout.ts'
import { NodeRuns } from '../../../src/store/sqlite/node-runs.ts'

function openRuns(): { db: SqliteDatabase; runs: NodeRuns } {
  const db = new (loadSqliteDriver())(':memory:')
  for (const statement of LAYOUT_STATEMENTS) db.exec(statement)
  return { db, runs: new NodeRuns(db) }
}

function countRows(db: SqliteDatabase): number {
  return db.prepare<[], number>('SELECT count(*) FROM _kora_node_runs').pluck().get() ?? 0
}

interface Entry {
  readonly node: number
  readonly sequenceNumber: number
  readonly sequence: number
}

/** Two nodes in turns; now and then a number is skipped, or given once more. */
const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ node: fc.constantFrom(1, 1, 1, 2), skips: fc.constantFrom(1, 1, 1, 4, 0, -2) }),
  },
  { weight: 1, arbitrary: fc.constant('flush' as const) },
  { weight: 2, arbitrary: fc.record({ removes: fc.nat() }) },
)

test('finds the entries of a node between two sequence numbers, in order', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 0, max: 40 }),
      (steps, from, length) => {
        const { db, runs } = openRuns()
        let entries: Entry[] = []
        const last = new Map<number, number>()
        let sequence = 0
        for (const next of steps) {
          if (next === 'flush') runs.flush()
          else if ('removes' in next) {
            runs.flush()
            const gone = entries[next.removes % Math.max(1, entries.length)]
            if (gone !== undefined) runs.remove(gone.node, gone.sequenceNumber, gone.sequence)
            entries = entries.filter((entry) => entry !== gone)
          } else {
            const sequenceNumber = Math.max(1, (last.get(next.node) ?? 0) + next.skips)
            last.set(next.node, sequenceNumber)
            sequence++
            runs.add(next.node, sequenceNumber, sequence)
            entries.push({ node: next.node, sequenceNumber, sequence })
          }
        }
        runs.flush()
        for (const node of [1, 2]) {
          const own = entries.filter((entry) => entry.node === node)
          const wanted = own
            .filter((entry) => entry.sequenceNumber >= from && entry.sequenceNumber <= from + length)
            .sort((a, b) => a.sequenceNumber - b.sequenceNumber || a.sequence - b.sequence)
          expect(runs.read(node, from, from + length)).toEqual(wanted.map((entry) => entry.sequence))
          expect(runs.readAll(node, own.length)).toEqual(own.map((entry) => entry.sequence))
          if (own.length > 0) expect(runs.readAll(node, own.length - 1)).toBeNull()
          for (const entry of own) expect(runs.has(node, entry.sequenceNumber, entry.sequence)).toBe(true)
        }
        expect(runs.has(1, from, 61)).toBe(false)
        db.close()
      },
    ),
    { numRuns: 300 },
  )
})

test('a batch of a device takes one row, and a number in a long run is found', () => {
  const { db, runs } = openRuns()
  for (let number = 1; number <= 5000; number++) runs.add(1, number, number + 70)
  runs.flush()
  expect(countRows(db)).toBe(5)
  expect(runs.read(1, 1000, 1001)).toEqual([1070, 1071])
  expect(runs.read(1, 4999, 9999)).toEqual([5069, 5070])
  expect(runs.read(1, 5001, 9999)).toEqual([])
  runs.remove(1, 500, 570)
  expect(countRows(db)).toBe(6)
  expect(runs.read(1, 499, 501)).toEqual([569, 571])
  db.close()
})

test('keeps nothing of what was rolled back', () => {
  const { db, runs } = openRuns()
  runs.add(1, 1, 1)
  runs.discardUnwritten()
  runs.add(1, 2, 1)
  runs.flush()
  expect(runs.read(1, 1, 9)).toEqual([1])
  expect(countRows(db)).toBe(1)
  db.close()
})
