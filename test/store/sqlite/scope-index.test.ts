import fc from 'fast-check'
import { expect, test } from 'vitest'
import { loadSqliteDriver, type SqliteDatabase } from '../../../src/store/sqlite/driver.ts'
import { LAYOUT_STATEMENTS } from '../../../src/store/sqlite/layout.ts'
import { ScopeIndex } from '../../../src/store/sqlite/scope-index.ts'

function openIndex(): { db: SqliteDatabase; index: ScopeIndex } {
  const db = new (loadSqliteDriver())(':memory:')
  for (const statement of LAYOUT_STATEMENTS) db.exec(statement)
  return { db, index: new ScopeIndex(db) }
}

function countRows(db: SqliteDatabase): number {
  return db.prepare<[], number>('SELECT count(*) FROM _kora_scope').pluck().get() ?? 0
}

const KEYS = [
  { fieldId: 1, key: '"u1"' },
  { fieldId: 1, key: '"u2"' },
  { fieldId: 2, key: '"u1"' },
] as const

/** Each entry stands under some of the keys; now and then what waits is flushed, or an entry is removed. */
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ places: fc.subarray([0, 1, 2]), skips: fc.constantFrom(0, 0, 0, 1, 5) }),
  },
  { weight: 1, arbitrary: fc.constant('flush' as const) },
  { weight: 2, arbitrary: fc.record({ removes: fc.nat({ max: 60 }) }) },
)

test('holds what was added and not removed, in order, from any position', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.nat({ max: 60 }),
      fc.integer({ min: 1, max: 20 }),
      (steps, after, limit) => {
        const { db, index } = openIndex()
        const expected = KEYS.map(() => new Set<number>())
        let sequence = 0
        for (const next of steps) {
          if (next === 'flush') index.flush()
          else if ('removes' in next) {
            index.flush()
            KEYS.forEach((key, position) => {
              index.remove(key, next.removes)
              expected[position]?.delete(next.removes)
            })
          } else {
            sequence += 1 + next.skips
            for (const place of next.places) {
              index.add(KEYS[place] ?? KEYS[0], sequence)
              expected[place]?.add(sequence)
            }
          }
        }
        index.flush()
        KEYS.forEach((key, position) => {
          const all = [...(expected[position] ?? [])]
          expect(index.read(key, 0, 1000)).toEqual(all)
          expect(index.read(key, after, limit)).toEqual(all.filter((at) => at > after).slice(0, limit))
          expect(index.has(key, after)).toBe(all.includes(after))
        })
        db.close()
      },
    ),
    { numRuns: 300 },
  )
})

test('takes one row for a batch of one user', () => {
  const { db, index } = openIndex()
  for (let sequence = 1; sequence <= 100; sequence++) index.add(KEYS[0], sequence)
  index.flush()
  expect(countRows(db)).toBe(1)
  index.remove(KEYS[0], 50)
  expect(countRows(db)).toBe(2)
  expect(index.read(KEYS[0], 48, 3)).toEqual([49, 51, 52])
  db.close()
})

test('reads a page of many short runs', () => {
  const { db, index } = openIndex()
  for (let sequence = 1; sequence <= 2000; sequence++) index.add(KEYS[sequence % 2] ?? KEYS[0], sequence)
  index.flush()
  expect(countRows(db)).toBe(2000)
  const page = index.read(KEYS[0], 100, 700)
  expect([page.length, page[0], page.at(-1)]).toEqual([700, 102, 1500])
  db.close()
})

test('keeps nothing of what was rolled back', () => {
  const { db, index } = openIndex()
  index.add(KEYS[0], 1)
  index.discardUnwritten()
  index.add(KEYS[0], 2)
  index.flush()
  expect(index.read(KEYS[0], 0, 10)).toEqual([2])
  db.close()
})
