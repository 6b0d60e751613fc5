import { expect, test } from 'vitest'
import { killUntilStopped } from '../support/chaos.ts'
import { sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import { PostgresServer } from '../support/postgres.ts'

// `npm run test:cluster` sets hundreds of clients and minutes.
const CLIENTS = Number(process.env.KORA_TEST_CLIENTS ?? 9)
const LOAD_MS = Number(process.env.KORA_TEST_SECONDS ?? 8) * 1000
const WRITE_INTERVAL_MS = Number(process.env.KORA_TEST_WRITE_INTERVAL_MS ?? 50)
const SEED = Number(process.env.KORA_TEST_SEED ?? Date.now() % 1_000_000)

test(
  'three servers whose processes and database die at random store exactly what was acknowledged',
  async () => {
    await using server = await PostgresServer.start()
    await using database = await server.openDatabase()
    await using cluster = await startCluster({ database, servers: 3 })
    const devices = await cluster.openDevices(CLIENTS)
    const writers = writeUntilStopped(devices, WRITE_INTERVAL_MS)
    const chaos = killUntilStopped({ cluster, server, seed: SEED })

    await sleep(LOAD_MS)
    const kills = await chaos.stop()
    writers.stop()
    const violations = await cluster.findViolations()

    console.info({ seed: SEED, clients: CLIENTS, operations: cluster.authoredCount, ...kills })
    expect(violations, `with KORA_TEST_SEED=${SEED}`).toEqual([])
  },
  LOAD_MS + 600_000,
)
