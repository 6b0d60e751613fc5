import { createHash } from 'node:crypto'
import { expect } from 'vitest'
import type { Runtime, Timer } from '../../src/core/runtime.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../src/store/postgres/postgres-store.ts'
import { openTestDatabase, type TestDatabase } from './postgres.ts'
import { type ConnectOptions, openRelayServer, type RelayClient, type RelayServer } from './relay-server.ts'
import { recordingLogger } from './tokens.ts'

export const ORG_A = { files: { org: 'a' }, todos: { org: 'a' } }
export const WAIT = { timeout: 30_000, interval: 20 }

export interface ClusterMember extends Omit<RelayServer, 'store'> {
  readonly store: PostgresServerStore
  readonly process: HoldableRuntime
  readonly log: ReturnType<typeof recordingLogger>
  /** What other servers have told this one, by topic. */
  readonly heard: [topic: string, payload: string][]
}

/** That of a process whose database is real, and whose timers the test may hold. */
export class HoldableRuntime implements Runtime {
  readonly #system = systemRuntime()
  #held: (() => void)[] | null = null
  #stoodStillMs = 0

  now = (): number => this.#system.now()
  monotonicNow = (): number => this.#system.monotonicNow() + this.#stoodStillMs
  defer = (callback: () => void): void => this.#system.defer(callback)
  uuid = (): string => this.#system.uuid()
  token = (byteLength: number): string => this.#system.token(byteLength)

  setTimer(delayMs: number, callback: () => void): Timer {
    let isCancelled = false
    const run = (): void => {
      if (isCancelled) return
      if (this.#held === null) callback()
      else this.#held.push(run)
    }
    const timer = this.#system.setTimer(delayMs, run)
    return {
      cancel: () => {
        isCancelled = true
        timer.cancel()
      },
    }
  }

  hold(): void {
    this.#held = []
  }

  /** @param stoodStillMs by which its clock has gone on meanwhile */
  release(stoodStillMs: number): void {
    const held = this.#held ?? []
    this.#held = null
    this.#stoodStillMs += stoodStillMs
    for (const run of held) run()
  }
}

/** Makes the lease of a server older, as if it had not been renewed for longer. */
export async function endLease(database: TestDatabase, { store }: ClusterMember): Promise<void> {
  await database.query("UPDATE _kora_servers SET seen_at = seen_at - interval '16 s' WHERE id = $1", [
    store.cluster.serverId,
  ])
}

/** Two servers on one database that know of each other. */
export async function openServers() {
  const database = await openTestDatabase()
  const open = async (): Promise<ClusterMember> => {
    const process = new HoldableRuntime()
    const { connectionString } = database
    const log = recordingLogger()
    const store = await createPostgresServerStore({ connectionString, runtime: process, logger: log })
    const heard: [string, string][] = []
    for (const topic of ['presence', 'richtext', 'blob-ask']) {
      store.cluster.subscribe(topic, (payload) => heard.push([topic, payload]))
    }
    return { ...openRelayServer({ store, port: 0, host: '127.0.0.1' }), store, process, log, heard }
  }
  const servers = await Promise.all([open(), open()])
  for (const { store, server } of servers) {
    await server.start()
    await expect.poll(() => store.cluster.members().size, WAIT).toBe(1)
  }
  return {
    here: servers[0],
    there: servers[1],
    database,
    async [Symbol.asyncDispose]() {
      for (const { server, store } of servers) {
        await server.stop()
        await store.close()
      }
      await database[Symbol.asyncDispose]()
    },
  }
}

/** A client that has its initial data, which comes from a database. */
export async function streaming(
  member: ClusterMember,
  nodeId: string,
  options: ConnectOptions = {},
): Promise<RelayClient> {
  const client = await member.connect(nodeId, { scopes: ORG_A, ...options })
  await expect.poll(() => client.sentOfType('operation-batch').length, WAIT).toBeGreaterThan(0)
  client.acknowledgeAll()
  return client
}

/** Presence is told in time, which only the test moves. */
export async function until(members: readonly ClusterMember[], isSo: () => boolean): Promise<void> {
  await expect
    .poll(async () => {
      for (const { runtime } of members) await runtime.advance(100)
      return isSo()
    }, WAIT)
    .toBe(true)
}

/** As any role may that can connect to the database. */
export async function announceAs(
  database: TestDatabase,
  serverId: string,
  topic: string,
  payload: string,
): Promise<void> {
  await notify(database, `${serverId} 1 1 1 ${topic}\n${payload}`)
}

/** To all servers whose tables are in the default schema. */
export async function notify(database: TestDatabase, text: string): Promise<void> {
  const channel = `kora_${createHash('sha256').update('public').digest('hex').slice(0, 16)}`
  await database.query('SELECT pg_notify($1, $2)', [channel, text])
}
