import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  compareTimestamps,
  HybridLogicalClock,
  MAX_LOGICAL,
  parseTimestamp,
  serializeTimestamp,
} from '../../src/core/clock.ts'
import type { Timestamp } from '../../src/core/operation.ts'

const timestamp: fc.Arbitrary<Timestamp> = fc.record({
  wallTime: fc.oneof(fc.integer({ min: 0, max: 400 }), fc.constant(999_999_999_999_998)),
  logical: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: MAX_LOGICAL - 2, max: MAX_LOGICAL })),
  nodeId: fc.constantFrom('a', 'self', 'z', 'with:colon'),
})

const step = fc.record({
  physicalMs: fc.integer({ min: 0, max: 400 }),
  call: fc.constantFrom('now', 'advanceTo'),
  remote: timestamp,
})

test('every reading is later than all before it and than every timestamp heard of', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let physicalMs = 0
      const clock = new HybridLogicalClock('self', { now: () => physicalMs })
      let latest: Timestamp = { wallTime: -1, logical: 0, nodeId: '' }
      for (const { physicalMs: now, call, remote } of steps) {
        physicalMs = now
        if (call === 'advanceTo') {
          clock.advanceTo(remote)
          if (compareTimestamps(remote, latest) > 0) latest = remote
          continue
        }
        const reading = clock.now()
        expect(compareTimestamps(reading, latest)).toBeGreaterThan(0)
        latest = reading
      }
    }),
    { numRuns: 3000 },
  )
})

test('for ASCII node ids, serialized timestamps sort as timestamps do, and parse back', () => {
  fc.assert(
    fc.property(timestamp, timestamp, (a, b) => {
      const [textA, textB] = [serializeTimestamp(a), serializeTimestamp(b)]
      expect(Math.sign(compareTimestamps(a, b))).toBe(textA < textB ? -1 : textA > textB ? 1 : 0)
      expect(parseTimestamp(textA)).toEqual(a)
    }),
  )
})
