import { expect, test } from 'vitest'
import { chooseEncoding } from '../../../src/http/dashboard/accepted-encoding.ts'

test.each([
  ['gzip, deflate, br', 'br'],
  ['gzip', 'gzip'],
  ['GZIP', 'gzip'],
  ['br;q=0, gzip', 'gzip'],
  ['br; q=0.000 , gzip;q=0.1', 'gzip'],
  ['br;q=0.5, gzip;q=0.8', 'gzip'],
  ['*', 'br'],
  ['*;q=0.3, br;q=0', 'gzip'],
  ['gzip, *;q=0', 'gzip'],
  ['br;q=, gzip;q=x', null],
  ['identity', null],
  ['x-br, gzip-not', null],
  ['', null],
])('"%s" is answered in %s', (accepted, encoding) => {
  expect(chooseEncoding(accepted, ['br', 'gzip'])).toBe(encoding)
})
