import { expect, test } from 'vitest'
import { sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import { PostgresServer } from '../support/postgres.ts'

const RESTARTS = Number(process.env.KORA_TEST_RESTARTS ?? 3)
const LIFE_MS = 800
const TIMEOUT_MS = 180_000 + RESTARTS * 20_000

test(
  'servers outlive their database: after a crash of PostgreSQL all converges, and nothing is lost',
  async () => {
    await using server = await PostgresServer.start()
    await using database = await server.openDatabase()
    await using cluster = await startCluster({ database, servers: 2 })
    const pids = cluster.daemons.map(({ pid }) => pid)
    const writers = writeUntilStopped(await cluster.openDevices(4))

    try {
      for (let restart = 0; restart < RESTARTS; restart++) {
        await sleep(LIFE_MS)
        await server.stop('immediate')
        await sleep(LIFE_MS)
        await server.start()
      }
      await sleep(LIFE_MS)
    } finally {
      writers.stop()
    }

    expect(await cluster.findViolations()).toEqual([])
    expect(cluster.daemons.map(({ pid }) => pid)).toEqual(pids)
    for (const { output } of cluster.daemons) expect(output).not.toContain('ss word')
  },
  TIMEOUT_MS,
)

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
