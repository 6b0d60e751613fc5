import { expect, test } from 'vitest'
import { type Cluster, sleep, startCluster } from '../support/cluster.ts'
import type { Device } from '../support/device.ts'
import { ADMIN_TOKEN, countUnready, findHealthLies } from '../support/health.ts'
import { openTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const LOAD_MS = sized(5000, 120_000)
const TERMINATION_INTERVAL_MS = 2000
const LATE_MS = 2000
const LISTENING_MS = 5000
const GIVEN_UP_MS = 30_000
const BUSY_MACHINE_MS = sized(8000, 0) // on top of what is promised, where other tests run beside
const MAX_UNREADY = sized(20, 0) // of some 50 times that each is asked, on such a machine
const SERVERS = 2
const LISTENING = "datname = current_database() AND application_name LIKE '%listen'"

test(
  'where listening connections keep breaking, deliveries are late by a poll at most',
  async () => {
    await using database = await openTestDatabase()
    await using cluster = await startPair(database)
    const [writer, reader] = await openPair(cluster)
    const [lateMs, lies, ends] = await Promise.all([
      writeFor(LOAD_MS, writer, reader),
      findLies(cluster),
      terminateFor(LOAD_MS, database),
    ])

    const terminations = ends.reduce((sum, { connections }) => sum + connections, 0)
    const listeningMs = Math.max(...ends.map((end) => end.listeningMs))
    expect(ends.map(({ connections }) => connections)).toEqual(ends.map(() => SERVERS)) // all listened before
    expect(lateMs).toBeLessThan(LATE_MS + BUSY_MACHINE_MS)
    expect(listeningMs).toBeLessThan(LISTENING_MS + BUSY_MACHINE_MS)
    expect(lies).toEqual([])
    expect(await cluster.findViolations()).toEqual([])
    reportFigures('listening connections that are terminated', {
      terminations,
      'ms late at most': Math.round(lateMs),
      'ms until all listen again, at most': Math.round(listeningMs),
    })
  },
  timeoutMs(120_000),
)

test(
  'where no notification arrives at all, deliveries are late by a poll at most',
  async () => {
    await using database = await openTestDatabase()
    // Found before the one of PostgreSQL, whose place in the path is named for once.
    await database.query(`CREATE SCHEMA mute;
      CREATE FUNCTION mute.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT';
      DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = mute, pg_catalog, public', current_database()); END $$`)
    await using cluster = await startPair(database)
    const [writer, reader] = await openPair(cluster)

    const [lateMs, lies] = await Promise.all([writeFor(LOAD_MS, writer, reader), findLies(cluster)])

    expect(lateMs).toBeGreaterThan(200) // nothing was announced, or nothing was tested
    expect(lateMs).toBeLessThan(LATE_MS + BUSY_MACHINE_MS)
    expect(lies).toEqual([])
    expect(await cluster.findViolations()).toEqual([])
    reportFigures('no notifications', { 'ms late at most': Math.round(lateMs) })
  },
  timeoutMs(120_000),
)

function startPair(database: TestDatabase): Promise<Cluster> {
  return startCluster({
    database,
    servers: SERVERS,
    optionsOf: () => ({ env: { KORA_ADMIN_TOKEN: ADMIN_TOKEN } }),
  })
}

/** The servers do their work meanwhile, a little late: everybody who is asked says so, all the while. */
async function findLies(cluster: Cluster): Promise<string[]> {
  const perDaemon = cluster.daemons.map(async (daemon) => {
    const [unready, lies] = await Promise.all([countUnready(daemon, LOAD_MS), findHealthLies(daemon, true)])
    return unready <= MAX_UNREADY ? lies : [...lies, `/ready was refused ${unready} times`]
  })
  return (await Promise.all(perDaemon)).flat()
}

/** A device at each of two servers. */
async function openPair(cluster: Cluster): Promise<[writer: Device, reader: Device]> {
  const [writer] = await cluster.openDevices(1, cluster.daemon(0).url)
  const [reader] = await cluster.openDevices(1, cluster.daemon(1).url)
  if (writer === undefined || reader === undefined) throw new Error('Two devices were opened')
  return [writer, reader]
}

/** @returns ms from an acknowledgment to the delivery at the other server, at most */
async function writeFor(durationMs: number, writer: Device, reader: Device): Promise<number> {
  const startedAt = performance.now()
  let lateMs = 0
  while (performance.now() - startedAt < durationMs) {
    writer.insert('todos', { title: 'news' })
    const id = writer.operations.at(-1)?.id ?? ''
    await writer.synced()
    const storedAt = performance.now()
    await reader.received(id, 30_000)
    lateMs = Math.max(lateMs, performance.now() - storedAt)
    await sleep(Math.random() * 100)
  }
  return lateMs
}

/**
 * Terminates the listening connections again and again.
 *
 * @returns of each time how many there were, and ms until as many new ones listened
 */
async function terminateFor(durationMs: number, database: TestDatabase) {
  const ends: { readonly connections: number; readonly listeningMs: number }[] = []
  await untilAllListen(database)
  const endsAt = performance.now() + durationMs
  while (performance.now() < endsAt) {
    const terminatedAt = performance.now()
    const rows = await database.query(
      `SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${LISTENING}`,
    )
    const pids = rows.map(({ pid }) => pid)
    await untilAllListen(database, pids)
    const listeningMs = performance.now() - terminatedAt
    ends.push({ connections: pids.length, listeningMs })
    await sleep(Math.max(0, TERMINATION_INTERVAL_MS - listeningMs))
  }
  return ends
}

/** Gives up in the end, without a word: who counts them then sees how many there are. */
async function untilAllListen(database: TestDatabase, terminated: readonly unknown[] = []): Promise<void> {
  const givenUpAt = performance.now() + GIVEN_UP_MS
  while ((await listenerCount(database, terminated)) < SERVERS && performance.now() < givenUpAt) {
    await sleep(50)
  }
}

/** Of those that have sent LISTEN, and whatever followed. */
async function listenerCount(database: TestDatabase, terminated: readonly unknown[]): Promise<number> {
  const rows = await database.query(
    `SELECT 1 FROM pg_stat_activity WHERE ${LISTENING} AND query <> '' AND pid <> ALL($1)`,
    [terminated],
  )
  return rows.length
}
