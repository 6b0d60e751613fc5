import fc from 'fast-check'
import { expect, test } from 'vitest'
import { IdBucket } from '../../../src/store/sqlite/id-bucket.ts'

const collidingKey = fc.integer({ min: 0, max: 7 }).map((high) => high * 2 ** 32 + 5)
const key = fc.oneof(
  collidingKey,
  fc.integer({ min: 0, max: 3000 }),
  fc.integer({ min: 0, max: 2 ** 52 - 1 }),
)
const sequence = fc.integer({ min: 1, max: 2 ** 40 })
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ act: fc.constant('set' as const), key, sequence }) },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('delete' as const), key }) },
)

test('a bucket holds what a Map holds, also where ids collide and as it grows', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 2000, size: 'max' }), (steps) => {
      const bucket = new IdBucket()
      const map = new Map<number, number>()
      for (const each of steps) {
        if (each.act === 'set') {
          bucket.set(each.key, each.sequence)
          map.set(each.key, each.sequence)
        } else {
          bucket.delete(each.key)
          map.delete(each.key)
        }
        if (bucket.size !== map.size) expect(bucket.size).toBe(map.size)
      }
      expect([...bucket.sortedKeys()]).toEqual([...map.keys()].sort((a, b) => a - b))
      expect(steps.map((each) => bucket.get(each.key))).toEqual(steps.map((each) => map.get(each.key)))
      expect(bucket.oldest).toBeLessThanOrEqual(Math.min(...map.values()))
      const set = steps.flatMap((each) => (each.act === 'set' ? each.sequence : []))
      expect(bucket.oldest).toBe(Math.min(...set))

      bucket.clear()
      expect([bucket.size, bucket.oldest, bucket.get(5)]).toEqual([0, Number.POSITIVE_INFINITY, undefined])
    }),
    { numRuns: 60 },
  )
})
