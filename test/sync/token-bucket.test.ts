import { expect, test } from 'vitest'
import { TokenBucket } from '../../src/sync/token-bucket.ts'

test('lets a burst of one minute through at once', () => {
  const bucket = new TokenBucket(600, 0)

  expect(bucket.waitMs(600, 0)).toBe(0)
})

test('slows down to the sustained rate once the burst is used up', () => {
  const bucket = new TokenBucket(600, 0)
  bucket.take(600, 0)

  expect(bucket.waitMs(100, 0)).toBe(10_000)
  expect(bucket.waitMs(100, 9_999)).toBeGreaterThan(0)
  expect(bucket.waitMs(100, 10_000)).toBe(0)
})

test('lets a batch that is larger than the bucket through when the bucket is full', () => {
  const bucket = new TokenBucket(60, 0)

  expect(bucket.waitMs(100, 0)).toBe(0)
  bucket.take(100, 0)
  expect(bucket.waitMs(1, 0)).toBe(41_000)
})

test('never waits without a limit', () => {
  const bucket = new TokenBucket(0, 0)
  bucket.take(1_000_000, 0)

  expect(bucket.waitMs(1_000_000, 0)).toBe(0)
})
