import { expect, test } from 'vitest'
import {
  type PastEnd,
  parsePastEnds,
  serializePastEnds,
  storedThrough,
  withPresentEnd,
} from '../../../src/store/compaction/past-ends.ts'

const HOUR_MS = 60 * 60 * 1000

test('notes stay few, and tell of any time what was stored by then, but for a tenth of its age', () => {
  let past: readonly PastEnd[] = []
  for (let hour = 1; hour <= 20_000; hour++) {
    past = withPresentEnd(past, { at: hour * HOUR_MS, end: hour })
    if (hour % 997 !== 0) continue
    for (let age = 0; age < hour * 0.9; age += 50) {
      const end = storedThrough(past, (hour - age) * HOUR_MS)
      expect(end).toBeLessThanOrEqual(hour - age)
      expect(end).toBeGreaterThanOrEqual(hour - age * 1.1 - 1)
    }
  }

  expect(past.length).toBeLessThan(200)
  expect(parsePastEnds(serializePastEnds(past))).toEqual(past)
})

test('a note of a clock that was ahead is given up', () => {
  const wrong = withPresentEnd([{ at: 1000, end: 1 }], { at: 9_000_000, end: 2 })

  expect(withPresentEnd(wrong, { at: 2000, end: 3 })).toEqual([
    { at: 1000, end: 1 },
    { at: 2000, end: 3 },
  ])
})

test('what cannot be read is not known', () => {
  expect(parsePastEnds(null)).toEqual([])
  expect(parsePastEnds('damaged')).toEqual([])
  expect(storedThrough([], 1000)).toBe(0)
})
