import { describe, expect, test } from 'vitest'
import { type Cluster, sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import type { Device } from '../support/device.ts'
import { findHealthLies, untilReady } from '../support/health.ts'
import { canIsolate, type IsolatedHost, insideOf, openIsolatedHost } from '../support/isolated-host.ts'
import { PostgresServer } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

/** How long the servers take turns at losing their database. */
const LOAD_MS = sized(60_000, 600_000)
const CALM_MS = 10_000
const [MIN_LOSS_MS, MAX_LOSS_MS] = [5000, 30_000]
/** Of the connection that goes silent. */
const BLACKOUT_MS = 60_000
const LEASE_MS = 15_000
const LEASE_NOTICE_MS = 500 // the lease is renewed before the loss, and its end noticed by a query
const NOTICE_MS = 15_000
const RECOVERY_MS = 10_000
/** Until the load runs, on a busy machine. */
const WRITING_MS = 30_000
const BUSY_MACHINE_MS = sized(10_000, 0) // on top of what is promised, where other tests run beside

// At the gate's size side by side: both wait for most of their minute.
describe.runIf(canIsolate)('without a database', { concurrent: !IS_FULL }, () => {
  test(
    'servers that lose their database in turn, each by itself, converge when it is back',
    async () => {
      const random = randomOf(seedOf('lost database'))
      await using here = await openIsolatedHost()
      await using there = await openIsolatedHost()
      const hosts = [here, there]
      await using server = await PostgresServer.start(
        [],
        hosts.map(({ gateway }) => gateway),
      )
      await using database = await server.openDatabase()
      await using cluster = await startCluster({
        database,
        servers: 2,
        optionsOf: (index) => insideOf(index === 0 ? here : there, server),
      })
      const pids = cluster.daemons.map(({ pid }) => pid)
      const [watcher, shown] = await openPresence(cluster)
      const writers = writeUntilStopped(await cluster.openDevices(6), sized(100, 400))
      const figures = { losses: 0, unreadyMs: 0, readyMs: 0, convergedMs: 0 }
      const note = (name: keyof typeof figures, value: number): void => {
        figures[name] = Math.max(figures[name], Math.round(value))
      }

      const lose = async (index: number, forMs: number, meanwhile = async (): Promise<void> => {}) => {
        const host = hosts[index] as IsolatedHost // one of the two
        const daemon = cluster.daemon(index)
        await host.lose(server.port)
        const lostAt = performance.now()
        const tellsTheTruth = async (): Promise<void> => {
          if (forMs < NOTICE_MS) return
          note('unreadyMs', await untilReady(daemon, false, { sinceMs: lostAt, timeoutMs: NOTICE_MS }))
          expect(await findHealthLies(daemon, false)).toEqual([])
          expect(await findHealthLies(cluster.daemon(1 - index), true)).toEqual([])
        }
        await Promise.all([tellsTheTruth(), meanwhile()])
        await sleep(Math.max(0, forMs - (performance.now() - lostAt)))
        await host.heal()
        const healedAt = performance.now()
        figures.losses++
        const bound = { sinceMs: healedAt, timeoutMs: RECOVERY_MS + BUSY_MACHINE_MS }
        const [readyMs] = await Promise.all([
          untilReady(daemon, true, bound),
          cluster.converged(RECOVERY_MS + BUSY_MACHINE_MS),
        ])
        note('readyMs', readyMs)
        note('convergedMs', performance.now() - healedAt)
        if (forMs >= NOTICE_MS) expect(await findHealthLies(daemon, true)).toEqual([])
      }

      let goneMs = 0
      const startedAt = performance.now()
      await lose(1, LEASE_MS + 1000, async () => {
        await watcher.until(
          () => watcher.peers.size === 0,
          'who was there is gone',
          LEASE_MS + LEASE_NOTICE_MS + BUSY_MACHINE_MS,
        )
        goneMs = Math.round(performance.now() - startedAt)
      })
      await shown.until(
        () => shown.peers.size === 1,
        'they see each other again',
        RECOVERY_MS + BUSY_MACHINE_MS,
      )
      await watcher.until(
        () => watcher.peers.size === 1,
        'they see each other again',
        RECOVERY_MS + BUSY_MACHINE_MS,
      )
      await lose(0, MIN_LOSS_MS)
      const leftMs = (): number => LOAD_MS - (performance.now() - startedAt)
      while (leftMs() > CALM_MS + MIN_LOSS_MS) {
        await sleep(CALM_MS)
        const forMs = MIN_LOSS_MS + random() * (MAX_LOSS_MS - MIN_LOSS_MS)
        await lose(random() < 0.5 ? 0 : 1, Math.min(forMs, leftMs()))
      }
      writers.stop()

      expect(await cluster.findViolations()).toEqual([])
      expect(cluster.daemons.map(({ pid }) => pid)).toEqual(pids)
      reportFigures('servers that lose their database', {
        losses: figures.losses,
        operations: cluster.authoredCount,
        'ms until /ready says so': figures.unreadyMs,
        'ms until ready again': figures.readyMs,
        'ms until all have all': figures.convergedMs,
        'ms until presence of the lost side is gone': goneMs,
      })
    },
    timeoutMs(240_000),
  )

  test(
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
      await Promise.all(
        devices.map((device) =>
          device.until(() => device.journal.acknowledgedIds.size > 0, 'it writes', WRITING_MS),
        ),
      )

      await host.lose(server.port)
      const lostAt = performance.now()
      const lostDate = Date.now()
      const unreadyMs = await untilReady(daemon, false, { sinceMs: lostAt, timeoutMs: NOTICE_MS })
      const ends = await Promise.all(
        devices.map((device) => firstEndAfter(device, lostDate, NOTICE_MS + BUSY_MACHINE_MS)),
      )
      const endedMs = Math.max(...ends.map(({ ms }) => ms))
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
      for (const { end } of ends) {
        expect(end).toMatchObject({ kind: 'error', code: 'STORE_UNAVAILABLE', retriable: true })
      }
      expect(endedMs).toBeLessThanOrEqual(NOTICE_MS + BUSY_MACHINE_MS)
      expect(violations).toEqual([])
      expect(daemon.pid).toBe(pid)
      reportFigures('half-open database connection', {
        's without a packet': BLACKOUT_MS / 1000,
        'ms until /ready says so': Math.round(unreadyMs),
        'ms until the last write in flight was refused': Math.round(endedMs),
        'ms until ready again': Math.round(readyMs),
        'ms until all have all': Math.round(convergedMs),
      })
    },
    timeoutMs(240_000),
  )
})

/** A device at each server, which show each other. */
async function openPresence(cluster: Cluster): Promise<[watcher: Device, shown: Device]> {
  const [watcher] = await cluster.openDevices(1, cluster.daemon(0).url)
  const [shown] = await cluster.openDevices(1, cluster.daemon(1).url)
  if (watcher === undefined || shown === undefined) throw new Error('Two devices were opened')
  for (const device of [watcher, shown]) device.setPresence({ user: { name: 'Ada', color: '#2563eb' } })
  for (const device of [watcher, shown]) {
    await device.until(() => device.peers.size === 1, 'it sees the other server’s client', 15_000)
  }
  return [watcher, shown]
}

/** What a device's writes in flight ended in, all at once with its connection, and ms after which. */
async function firstEndAfter(device: Device, date: number, withinMs: number) {
  const first = () =>
    device.journal.entries.find(({ kind, at }) => at >= date && (kind === 'error' || kind === 'closed'))
  await device.until(() => first() !== undefined, 'its writes are refused', withinMs)
  const end = first()
  if (end === undefined) throw new Error('There was an end a moment ago')
  return { end, ms: end.at - date }
}
