import { expect, test } from 'vitest'
import { createPostgresServerStore } from '../../src/index.ts'
import { startCluster } from '../support/cluster.ts'
import type { Device } from '../support/device.ts'
import { connectionStringOf, PostgresServer } from '../support/postgres.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'

test('servers that stay up while a replica takes over deliver what comes next, and what it lacks is sent again', async () => {
  await using primary = await PostgresServer.start(['fsync=off'])
  await using database = await primary.openDatabase()
  await using standby = await primary.startStandby()
  await using proxy = await openTcpProxy([{ port: primary.port }])
  const connectionString = connectionStringOf(proxy.port, 'app')
  await using cluster = await startCluster({ database: { ...database, connectionString }, servers: 2 })
  const insert = (device: Device, title: string): string => device.insert('todos', { title, tags: [] })
  const [live, away] = await cluster.openDevices(2)
  if (live === undefined || away === undefined) throw new Error('Two devices were opened')
  insert(live, 'before')
  await cluster.converged()
  const replica = await createPostgresServerStore({
    connectionString: connectionStringOf(standby.port, 'app'),
    readOnly: true,
  })
  await expect.poll(() => replica.getOperationCount(), { timeout: 20_000 }).toBe(1)
  await replica.close()

  await standby.stopFollowing()
  const [unknown] = await cluster.openDevices(1)
  if (unknown === undefined) throw new Error('A device was opened')
  for (const device of cluster.devices) for (let i = 0; i < 5; i++) insert(device, 'lost')
  await cluster.converged()
  await away.synced()
  away.goOffline()
  await primary.stop('immediate')
  await standby.promote()
  proxy.targets = [{ port: standby.port }]
  proxy.cut()

  const [stranger] = await cluster.openDevices(1)
  if (stranger === undefined) throw new Error('A device was opened')
  for (const device of [stranger, live, unknown]) insert(device, 'after')
  await Promise.all([stranger, live, unknown].map((device) => device.synced(30_000)))
  away.goOnline()
  await cluster.converged()
  expect(await cluster.findViolations({ isRenumbered: true })).toEqual([])
}, 180_000)
