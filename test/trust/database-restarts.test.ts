import { expect, test } from 'vitest'
import { sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import { ADMIN_TOKEN, findHealthLies, untilReady } from '../support/health.ts'
import { PostgresServer } from '../support/postgres.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const RESTARTS = sized(4, 20)
const LIFE_MS = sized(700, 3000)
const DEATH_MS = 800
const NOTICE_MS = 15_000
const READY_MS = 10_000
const CONVERGED_MS = 15_000
const BUSY_MACHINE_MS = sized(15_000, 0) // on top of what is promised, where other tests run beside

test(
  'servers outlive their database: after each crash of PostgreSQL all converges, and nothing is lost',
  async () => {
    await using server = await PostgresServer.start()
    await using database = await server.openDatabase()
    await using cluster = await startCluster({
      database,
      servers: 2,
      optionsOf: () => ({ env: { KORA_ADMIN_TOKEN: ADMIN_TOKEN } }),
    })
    const [daemon] = cluster.daemons
    if (daemon === undefined) throw new Error('Two daemons were started')
    const pids = cluster.daemons.map(({ pid }) => pid)
    const writers = writeUntilStopped(await cluster.openDevices(4), sized(20, 200))
    const most = { unreadyMs: 0, readyMs: 0, convergedMs: 0 }
    const note = (name: keyof typeof most, value: number): void => {
      most[name] = Math.max(most[name], Math.round(value))
    }

    for (let restart = 0; restart < RESTARTS; restart++) {
      await sleep(LIFE_MS)
      await server.stop('immediate')
      const stoppedAt = performance.now()
      note('unreadyMs', await untilReady(daemon, false, { sinceMs: stoppedAt, timeoutMs: NOTICE_MS }))
      if (restart === 0) expect(await findHealthLies(daemon, false)).toEqual([])
      await sleep(DEATH_MS)
      await server.start()
      const startedAt = performance.now()
      const [readyMs] = await Promise.all([
        untilReady(daemon, true, { sinceMs: startedAt, timeoutMs: READY_MS + BUSY_MACHINE_MS }),
        cluster.converged(CONVERGED_MS + BUSY_MACHINE_MS),
      ])
      note('readyMs', readyMs)
      note('convergedMs', performance.now() - startedAt)
    }
    writers.stop()

    expect(await cluster.findViolations()).toEqual([])
    // What the database had lost, its writers would have sent again: only that the log went back would tell.
    expect(cluster.devices.flatMap(({ journal }) => journal.of('resync'))).toEqual([])
    expect(await findHealthLies(daemon, true)).toEqual([])
    expect(cluster.daemons.map(({ pid }) => pid)).toEqual(pids)
    for (const { output } of cluster.daemons) expect(output).not.toContain('ss word')
    reportFigures('restarts of PostgreSQL', {
      restarts: RESTARTS,
      operations: cluster.authoredCount,
      'ms until /ready says so': most.unreadyMs,
      'ms until ready again': most.readyMs,
      'ms until all have all': most.convergedMs,
    })
  },
  timeoutMs(300_000),
)
