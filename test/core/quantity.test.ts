import { expect, test } from 'vitest'
import { quantityOf } from '../../src/core/quantity.ts'

test('one of a kind is no plural', () => {
  expect([0, 1, 2, 2000].map((count) => quantityOf(count, 'byte'))).toEqual([
    '0 bytes',
    '1 byte',
    '2 bytes',
    '2000 bytes',
  ])
  expect(quantityOf(1, 'record', (count) => `#${count}`)).toBe('#1 record')
})
