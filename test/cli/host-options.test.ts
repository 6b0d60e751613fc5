import { describe, expect, test } from 'vitest'
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

test('times are whole milliseconds, as timers and sockets take them', async () => {
  const config = { limits: { handshakeTimeout: 1500.4, idleTimeout: 45_000.6 }, shutdownTimeout: 1001 }
  using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify(config) })
  const { values } = await loadConfig({ cwd: folder.path, env: {} })

  const { sync } = hostOptions(values, { blobs: null, compaction: null } as ServerParts)

  expect(sync.limits).toMatchObject({ handshakeTimeoutMs: 1500, idleTimeoutMs: 45_001 })
  expect(sync.stopSpreadMs).toBe(801)
  expect(sync.stopTimeoutMs).toBe(1001)
})

describe('the switches of http', () => {
  const listener = { host: '127.0.0.1', port: 9464, portOption: 'admin.port' }
  const shared = { admin: {} }
  const apart = { admin: { port: listener.port } }

  test.each([
    ['take metrics and dashboard off the public listener', { metrics: false, dashboard: false }, shared],
    ['take them off a listener of their own', { metrics: false, dashboard: false }, apart],
    ['take each by itself', { metrics: false }, apart],
    ['take nothing when they are on', {}, apart],
  ])('%s', async (_name, http, admin) => {
    const { metrics = true, dashboard = true } = http as { metrics?: boolean; dashboard?: boolean }

    expect(await operationsOf({ http, ...admin })).toMatchObject({
      servesMetrics: metrics,
      servesDashboard: dashboard,
    })
  })

  test('`false` leaves a listener of their own everything, and the public one nothing', async () => {
    expect(await operationsOf({ http: false, ...apart })).toEqual({
      auth: {},
      listener,
      servesMetrics: true,
      servesDashboard: true,
    })
    expect(await operationsOf({ http: false, ...shared })).toBeUndefined()
  })

  async function operationsOf(config: object) {
    using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify(config) })
    const { values } = await loadConfig({ cwd: folder.path, env: {} })
    return hostOptions(values, { blobs: null, compaction: null } as ServerParts).operations
  }
})
