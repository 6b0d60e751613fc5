import { expect, test } from 'vitest'
import { sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import type { Device } from '../support/device.ts'
import { findHealthLies, untilReady } from '../support/health.ts'
import { canIsolate, insideOf, openIsolatedHost } from '../support/isolated-host.ts'
import { PostgresServer } from '../support/postgres.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const BLACKOUT_MS = sized(12_000, 60_000)
const NOTICE_MS = 15_000
const RECOVERY_MS = 10_000
const BUSY_MACHINE_MS = sized(10_000, 0) // on top of what is promised, where other tests run beside

test.runIf(canIsolate)(
  'a database that no packet reaches any more is noticed, refused by name and found again',
  async () => {
    await using host = await openIsolatedHost()
    await using server = await PostgresServer.start([], [host.gateway])
    await using database = await server.openDatabase()
    await using cluster = await startCluster({
      database,
      servers: 1,
      optionsOf: () => insideOf(host, server),
    })
    const daemon = cluster.daemon(0)
    const { pid } = daemon
    const devices = await cluster.openDevices(4, daemon.url, { ackTimeoutMs: 120_000 })
    const writers = writeUntilStopped(devices)
    await sleep(2000)

    await host.lose(server.port)
    const lostAt = performance.now()
    const lostDate = Date.now()
    const unreadyMs = await untilReady(daemon, false, { sinceMs: lostAt, timeoutMs: NOTICE_MS })
    const errors = await Promise.all(
      devices.map((device) => firstErrorAfter(device, lostDate, NOTICE_MS + BUSY_MACHINE_MS)),
    )
    const lies = await findHealthLies(daemon, false)
    await sleep(Math.max(0, BLACKOUT_MS - (performance.now() - lostAt)))

    await host.heal()
    const healedAt = performance.now()
    const recovery = { sinceMs: healedAt, timeoutMs: RECOVERY_MS + BUSY_MACHINE_MS }
    const [readyMs] = await Promise.all([
      untilReady(daemon, true, recovery),
      cluster.converged(recovery.timeoutMs), // what was written until it was healed
    ])
    const convergedMs = performance.now() - healedAt
    writers.stop()
    const violations = await cluster.findViolations()

    expect(lies).toEqual([])
    expect(await findHealthLies(daemon, true)).toEqual([])
    for (const { code, retriable } of errors) {
      expect({ code, retriable }).toEqual({ code: 'STORE_UNAVAILABLE', retriable: true })
    }
    expect(violations).toEqual([])
    expect(daemon.pid).toBe(pid)
    reportFigures('half-open database connection', {
      's without a packet': BLACKOUT_MS / 1000,
      'ms until /ready says so': Math.round(unreadyMs),
      'ms until the last write in flight was refused': Math.round(Math.max(...errors.map(({ ms }) => ms))),
      'ms until ready again': Math.round(readyMs),
      'ms until all have all': Math.round(convergedMs),
    })
  },
  timeoutMs(180_000),
)

/** What a device's writes in flight ended in, and ms after which. */
async function firstErrorAfter(device: Device, date: number, withinMs: number) {
  const first = () => device.journal.of('error').find(({ at }) => at >= date)
  await device.until(() => first() !== undefined, 'its writes are refused', withinMs)
  const error = first()
  if (error === undefined) throw new Error('There was an error a moment ago')
  return { ...error, ms: error.at - date }
}
