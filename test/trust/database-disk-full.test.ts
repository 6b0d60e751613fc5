import { describe, expect, test } from 'vitest'
import { sleep, startCluster } from '../support/cluster.ts'
import type { Device } from '../support/device.ts'
import { canMount, SmallDisk } from '../support/disk/small-disk.ts'
import { ADMIN_TOKEN, findHealthLies, untilReady } from '../support/health.ts'
import { PostgresServer, type TestDatabase } from '../support/postgres.ts'
import { refusalsMs } from '../support/refusals.ts'
import { percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const DISK_MEGABYTES = 384
const LEFT_BYTES = 2 * 1024 * 1024
const RECORD_BYTES = 20_000
const FULL_MS = sized(5000, 60_000) // how long it stays full
const FILLED_WITHIN_MS = 60_000 // from the first load
const TURNS_WITHIN_MS = 15_000
const READY_WITHIN_MS = 10_000
// The figures are printed; beside other tests they may be larger than what is promised.
const REFUSED_WITHIN_MS = sized(3000, 1000) // from the sending of a write
const CAUGHT_UP_WITHIN_MS = 5000
const SEEN_WITHIN_MS = 10_000
const mayMount = canMount('full disk of the database')

// Segments of the log are taken from a stock, so that it is the tables that find no room. Where the log finds
// none, PostgreSQL stops by itself: see database-restarts.
const SETTINGS = ['min_wal_size=128MB', 'max_wal_size=128MB', 'autovacuum=off', 'checkpoint_timeout=1h']
/**
 * Of 16 MB: as many as it keeps beside the one that it writes. One more would be removed, and its room come free
 * only when the last connection lets go of it, in the middle of the test.
 */
const LOG_SEGMENTS = 7

describe.runIf(mayMount)('PostgreSQL on a disk that is full', () => {
  test(
    'has writes refused by name while reads go on, and nothing is lost; freed, the server goes on by itself',
    async () => {
      using disk = new SmallDisk(DISK_MEGABYTES)
      await using postgres = await PostgresServer.start(SETTINGS, [], disk.path)
      await using database = await postgres.openDatabase()
      await using cluster = await startCluster({
        database,
        servers: 1,
        optionsOf: () => ({
          files: { 'kora.config.mjs': `export default { admin: { adminToken: '${ADMIN_TOKEN}' } }` },
        }),
      })
      const daemon = cluster.daemon(0)
      const [watcher, returning, ...writers] = await cluster.openDevices(5)
      writers[0]?.insert('todos', { title: 'before' })
      await untilSome(() => (returning?.watermark ?? 0) > 0, SEEN_WITHIN_MS)
      returning?.goOffline()
      await stockUpOnLog(database)
      disk.fill(LEFT_BYTES)

      const fullAt = performance.now()
      const writing = writeLargeUntilStopped(writers)
      await untilSome(() => refusalsOf(writers).length > 0, FILLED_WITHIN_MS)
      const refusedAt = performance.now()
      writing.stop() // what is pending is sent again and again
      const unreadyMs = await untilReady(daemon, false, { sinceMs: refusedAt, timeoutMs: TURNS_WITHIN_MS })
      const lies = await findHealthLies(daemon, false)
      const before = acknowledgedBy(writers)
      await assertReadable(watcher, writers)
      await assertDelivered(returning, writers)
      const query = await daemon.run(['query', 'todos', '--count', '--schema', 'schema.mjs'])
      await sleep(FULL_MS)
      const during = acknowledgedBy(writers)
      const roomBytes = disk.roomBytes

      const refusedAfterMs = percentile(refusalsMs(writers), 1)

      disk.free()
      const freedAt = performance.now()
      const caughtUp = async (): Promise<number> => {
        await Promise.all([
          ...writers.map((writer) => writer.synced(CAUGHT_UP_WITHIN_MS)),
          cluster.converged(CAUGHT_UP_WITHIN_MS),
        ])
        return performance.now() - freedAt
      }
      const [caughtUpMs, readyMs] = await Promise.all([
        caughtUp(),
        untilReady(daemon, true, { sinceMs: freedAt, timeoutMs: READY_WITHIN_MS }),
      ])
      expect(await findHealthLies(daemon, true)).toEqual([])
      const violations = await cluster.findViolations()

      reportFigures('disk of PostgreSQL full and freed', {
        acknowledged: acknowledgedBy(writers),
        'acknowledged while it was full': during - before,
        'ms from the first load until refused': Math.round(refusedAt - fullAt),
        'ms from a write to its refusal': refusedAfterMs,
        'ms until not ready': Math.round(unreadyMs),
        'ms until ready again': Math.round(readyMs),
        'ms until all have caught up': Math.round(caughtUpMs),
      })
      expect(refusedAfterMs).toBeLessThan(REFUSED_WITHIN_MS)
      expect(roomBytes).toBeLessThan(LEFT_BYTES) // or it has not been full all the time
      expect(during - before).toBe(0)
      expect(violations).toEqual([])
      expect(lies).toEqual([])
      expect(query, query.stderr).toMatchObject({ code: 0, stderr: '' })
      for (const refusal of refusalsOf(writers)) {
        expect(refusal).toMatchObject({ code: 'STORE_UNAVAILABLE', retriable: true })
      }
      expect(daemon.output).toContain("the database's disk is full. Free some space.")
    },
    timeoutMs(240_000),
  )
})

/** Has PostgreSQL recycle as many segments of its log as it keeps. */
async function stockUpOnLog(database: TestDatabase): Promise<void> {
  for (let segment = 0; segment < LOG_SEGMENTS; segment++) {
    await database.query(
      "SELECT pg_logical_emit_message(false, 'test', 'a segment is only left when it holds something')",
    )
    await database.query('SELECT pg_switch_wal()')
  }
  await database.query('CHECKPOINT')
}

function writeLargeUntilStopped(devices: readonly Device[]): { stop(): void } {
  const timer = setInterval(() => {
    for (const device of devices) {
      if (device.pendingCount < 20) device.insert('todos', { title: randomText() })
    }
  }, 20)
  return { stop: () => clearInterval(timer) }
}

/** Such as PostgreSQL cannot compress. */
function randomText(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array((RECORD_BYTES * 3) / 4))).toString('base64')
}

async function assertReadable(watcher: Device | undefined, writers: readonly Device[]): Promise<void> {
  const name = 'seen while the disk is full'
  watcher?.setPresence({ user: { name, color: '#000' } })
  const sees = (device: Device) => [...device.peers.values()].some(({ user }) => user.name === name)
  await untilSome(() => writers.some(sees), SEEN_WITHIN_MS)
}

/** A device that the server knows comes back, and is sent what was written since. */
async function assertDelivered(returning: Device | undefined, writers: readonly Device[]): Promise<void> {
  const stored = writers.flatMap(({ journal }) => [...journal.acknowledgedIds])
  const missing = stored.filter((id) => returning?.has(id) === false)
  expect(missing.length).toBeGreaterThan(0)
  returning?.goOnline()
  await untilSome(() => missing.every((id) => returning?.has(id) === true), SEEN_WITHIN_MS)
}

function refusalsOf(devices: readonly Device[]) {
  return devices.flatMap(({ journal }) => [...journal.of('error'), ...journal.refusals.values()])
}

function acknowledgedBy(devices: readonly Device[]): number {
  return devices.reduce((sum, { journal }) => sum + journal.acknowledgedIds.size, 0)
}

async function untilSome(isMet: () => boolean, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!isMet()) {
    if (performance.now() > deadline) throw new Error(`Nothing of the kind within ${withinMs} ms`)
    await sleep(20)
  }
}
