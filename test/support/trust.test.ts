import { expect, test } from 'vitest'
import { percentile } from './trust.ts'

test('a percentile is a value that so large a share does not exceed', () => {
  const values = Array.from({ length: 200 }, (_, i) => 200 - i)

  expect(percentile(values, 0.99)).toBe(198)
  expect(percentile(values, 1)).toBe(200)
  expect(percentile([7], 0.5)).toBe(7)
})

test('a percentile of nothing is below no bound', () => {
  expect(percentile([], 0.99)).toBeNaN()
})
