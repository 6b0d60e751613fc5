import { expect, test } from 'vitest'
import { networkOf } from '../../src/core/network-of.ts'

test.each([
  ['203.0.113.9', '203.0.113.9', 'an IPv4 address'],
  ['::ffff:203.0.113.9', '203.0.113.9', 'the same in IPv6'],
  ['::FFFF:cb00:7109', '203.0.113.9', 'the same in hexadecimal'],
  ['0:0:0:0:0:ffff:203.0.113.9', '203.0.113.9', 'the same at full length'],
  ['2001:db8:0:7::1', '2001:db8:0:7', 'an IPv6 address'],
  ['2001:db8:0:7:ffff:ffff:ffff:ffff', '2001:db8:0:7', 'another one of its network'],
  ['2001:0DB8:0000:0007::1', '2001:db8:0:7', 'one that is written otherwise'],
  ['2001:db8::7:0:0:0:1', '2001:db8:0:7', 'one that leaves out less'],
  ['2001:db8::7:0:0:1.2.3.4', '2001:db8:0:7', 'one that ends as IPv4 does'],
  ['2001:db8:0:8::1', '2001:db8:0:8', 'one of the next network'],
  ['::1', '0:0:0:0', 'loopback'],
  ['::', '0:0:0:0', 'no address of anybody'],
  ['fe80::1%eth0', 'fe80:0:0:0', 'one of an interface'],
  ['', '', 'none'],
  ['unix:/run/kora', 'unix:/run/kora', 'what an application calls its clients'],
])('%s counts as %s: %s', (address, network) => {
  expect(networkOf(address)).toBe(network)
})
