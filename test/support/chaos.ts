import type { Cluster } from './cluster.ts'
import { sleep } from './cluster.ts'
import type { Daemon } from './daemon.ts'
import type { PostgresServer } from './postgres.ts'

const MAX_LIFE_MS = 6000 // between two rounds, so that clients get to send something, or just not
const MAX_DEATH_MS = 1500

export interface Kills {
  /** Servers that were killed with SIGKILL. */
  readonly crashes: number
  /** Servers that were told to stop. */
  readonly stops: number
  /** Crashes of the database. */
  readonly databaseCrashes: number
}

/**
 * Kills a random choice of a cluster's servers and its database, all at the same moment, and starts
 * them again, over and over. The seed decides about who and when.
 */
export function killUntilStopped(options: {
  readonly cluster: Cluster
  readonly server: PostgresServer
  readonly seed: number
}): { stop(): Promise<Kills> } {
  const { cluster, server, seed } = options
  const random = seededRandom(seed)
  const kills = { crashes: 0, stops: 0, databaseCrashes: 0 }
  let isStopped = false

  const killAndStart = async (daemon: Daemon, isCrash: boolean, isUp: Promise<void>): Promise<void> => {
    if (isCrash) kills.crashes++
    else kills.stops++
    await daemon.kill(isCrash ? 'SIGKILL' : 'SIGTERM')
    await isUp
    await daemon.start()
  }
  const crashDatabase = async (deathMs: number): Promise<void> => {
    kills.databaseCrashes++
    await server.stop('immediate')
    await sleep(deathMs)
    await server.start()
  }
  const round = async (): Promise<void> => {
    const deathMs = random() * MAX_DEATH_MS
    const isUp = random() < 0.3 ? crashDatabase(deathMs) : sleep(deathMs)
    const victims = cluster.daemons.filter(() => random() < 0.4)
    await Promise.all([isUp, ...victims.map((daemon) => killAndStart(daemon, random() < 0.75, isUp))])
  }
  const rounds = (async () => {
    while (!isStopped) {
      await sleep(random() * MAX_LIFE_MS)
      if (!isStopped) await round()
    }
  })()
  rounds.catch(() => {}) // whoever stops it is told
  return {
    async stop() {
      isStopped = true
      await rounds
      return kills
    },
  }
}

/** Mulberry32: the same numbers for the same seed. */
function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
