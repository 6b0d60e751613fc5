import { expect, test } from 'vitest'
import { isLoopback } from '../../src/core/loopback.ts'

test.each([
  'localhost',
  'LocalHost',
  '127.0.0.1',
  '127.255.0.3',
  '::1',
  '[::1]',
  '0:0:0:0:0:0:0:1',
  '::ffff:127.0.0.1',
  '[::FFFF:127.0.0.1]',
  new URL('http://[::ffff:127.0.0.1]').hostname, // [::ffff:7f00:1]
])('%s is this machine', (host) => {
  expect(isLoopback(host)).toBe(true)
})

test.each([
  '',
  '0.0.0.0',
  '::',
  '[::]',
  '10.0.0.1',
  '128.0.0.1',
  '::2',
  '::ffff:10.0.0.1',
  '127.0.0.1.example.com',
  '127.0.0.256',
  '127.1', // no address: a resolver decides what it is
  'localhost.example.com',
  '[localhost',
  '::1%lo',
  'fe80::1%eth0',
])('"%s" is not, or may not be', (host) => {
  expect(isLoopback(host)).toBe(false)
})
