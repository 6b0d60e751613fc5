import { expect, test } from 'vitest'
import { hostOptions, type ServerParts } from '../../src/cli/host-options.ts'
import { loadConfig } from '../../src/config/load-config.ts'
import { ConfigFolder } from '../support/config-folder.ts'

test('the limits of the configuration are those of the server', async () => {
  const limits = {
    maxMessageBytes: 1,
    maxConnectionsPerUser: 2,
    maxConnectionsPerAddress: 3,
    handshakeTimeout: 4000,
    idleTimeout: 5000,
    maxBufferedBytes: 6,
    maxFeedBytes: 7,
    maxQueuedBytes: 8,
  }
  using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify({ limits }) })
  const { values } = await loadConfig({ cwd: folder.path, env: {} })

  const { sync } = hostOptions(values, { blobs: null, compaction: null } as ServerParts) // it only passes the others on

  expect(sync.limits).toEqual({
    maxMessageBytes: 1,
    maxConnectionsPerUser: 2,
    maxConnectionsPerAddress: 3,
    handshakeTimeoutMs: 4000,
    idleTimeoutMs: 5000,
    maxBufferedBytes: 6,
    maxFeedBytes: 7,
    maxQueuedBytes: 8,
  })
})
