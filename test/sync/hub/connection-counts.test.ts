import { expect, test } from 'vitest'
import { ConnectionCounts } from '../../../src/sync/hub/connection-counts.ts'

const UNLIMITED = { maxConnections: 0, maxConnectionsPerUser: 0, maxConnectionsPerAddress: 0 }

test('refuses the first connection above the limit for all, wherever it is from', () => {
  const counts = new ConnectionCounts({ ...UNLIMITED, maxConnections: 2 })

  expect(counts.refuseConnection('192.0.2.1', 2)).toBeNull()
  expect(counts.refuseConnection('192.0.2.2', 3)).toBe('MAX_CONNECTIONS')
  expect(counts.refuseConnection(undefined, 3)).toBe('MAX_CONNECTIONS')
})

test('refuses the first connection above the limit for a network, until one of its others is closed', () => {
  const counts = new ConnectionCounts({ ...UNLIMITED, maxConnectionsPerAddress: 1 })
  counts.countAddress('2001:db8:0:7::1', 1)
  expect(counts.refuseConnection('2001:db8:0:7::1', 1)).toBeNull()

  counts.countAddress('2001:db8:0:7::2', 1)
  expect(counts.refuseConnection('2001:db8:0:7::2', 2)).toBe('MAX_CONNECTIONS')
  expect(counts.refuseConnection('2001:db8:0:8::1', 2)).toBeNull()
  expect(counts.refuseConnection(undefined, 2)).toBeNull()

  counts.countAddress('2001:db8:0:7::1', -1)
  expect(counts.refuseConnection('2001:db8:0:7::2', 1)).toBeNull()
})

test('refuses a user who has as many connections as there may be, until one of them is closed', () => {
  const counts = new ConnectionCounts({ ...UNLIMITED, maxConnectionsPerUser: 1 })
  expect(counts.refuseUser('ada')).toBeNull()

  counts.countUser('ada', 1)
  expect(counts.refuseUser('ada')).toBe('MAX_CONNECTIONS')
  expect(counts.refuseUser('grace')).toBeNull()

  counts.countUser('ada', -1)
  expect(counts.refuseUser('ada')).toBeNull()
})

test('a limit of 0 is none', () => {
  const counts = new ConnectionCounts(UNLIMITED)
  for (let n = 0; n < 3; n++) {
    counts.countAddress('192.0.2.1', 1)
    counts.countUser('ada', 1)
  }

  expect(counts.refuseConnection('192.0.2.1', 3)).toBeNull()
  expect(counts.refuseUser('ada')).toBeNull()
})
