import { expect, test } from 'vitest'
import { sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import { PostgresServer } from '../support/postgres.ts'

const LIFE_MS = 800
test('a statement that somebody else blocks delays the clients and loses nothing', async () => {
  await using server = await PostgresServer.start(['fsync=off'])
  await using database = await server.openDatabase()
  await using cluster = await startCluster({ database, servers: 2 })
  const writers = writeUntilStopped(await cluster.openDevices(3))

  await sleep(LIFE_MS)
  await database.query('BEGIN; LOCK TABLE todos IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT')
  await database.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'kora-server%'",
  )
  await sleep(LIFE_MS)
  writers.stop()

  expect(await cluster.findViolations()).toEqual([])
}, 180_000)
