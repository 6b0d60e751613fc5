import { copyFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createPostgresServerStore, createSqliteServerStore } from '../../src/index.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { findViolations } from '../support/checker.ts'
import { sleep } from '../support/cluster.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type Device, openDevice } from '../support/device.ts'
import { openTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { integrityOf } from '../support/sqlite-file.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const WRITERS = 20
/** So much at once that all the batches that a device may have on their way are. */
const BURST_OPERATIONS = 36
/** One device after the other writes as much; and some of them together right before each kill. */
const [BURST_INTERVAL_MS, LAST_BURSTS, MAX_ANSWER_MS] = [400, 5, 30]
const [PIPELINE_DEPTH, BATCH_SIZE] = [4, 10]
const [MIN_LIFE_MS, MAX_LIFE_MS] = [50, 2000]
const WAIT_MS = 60_000
/** Each on a new store, so that the devices, which keep all that they receive, stay small. */
const ROUNDS = sized(1, 10)
const CHECKER = 'checker'
/** After so many kills all that is stored is replayed and compared with the tables. */
const REPLAY_EVERY = sized(4, 1)
/** From the start of the process. At the gate's size both databases are tried at once, beside other tests. */
const READY_MS = sized(20_000, 2000)

/** Both stores number their rows in the transaction that writes them. */
const STORED = { collections: ['todos'], isNumberedThroughout: true }

const random = randomOf(seedOf('killed under load'))

/** One store with 20 devices that write to it, also while its server is gone. */
class Load implements AsyncDisposable {
  readonly daemon: Daemon
  readonly devices: readonly Device[]
  readonly #writers: { stop(): void }
  readonly #readyMs: number[] = []
  #killedInFlight = 0

  private constructor(daemon: Daemon, devices: readonly Device[]) {
    this.daemon = daemon
    this.devices = devices
    this.#writers = writeBursts(devices)
  }

  static async start(env: { readonly [name: string]: string } = {}): Promise<Load> {
    const files = { 'schema.mjs': schemaFile() }
    const daemon = await startDaemon({ args: ['--schema', 'schema.mjs'], files, env })
    const devices = await Promise.all(
      Array.from({ length: WRITERS }, (_, index) =>
        openDevice({
          url: daemon.url,
          schema: todoSchema,
          name: `writer ${index}`,
          pipelineDepth: PIPELINE_DEPTH,
          batchSize: BATCH_SIZE,
        }),
      ),
    )
    return new Load(daemon, devices)
  }

  /** Batches that were on their way when their server was killed. */
  get killedInFlight(): number {
    return this.#killedInFlight
  }

  /** Kills the server at a random moment, over and over. */
  async killOften(kills: number, whileDead: (kill: number) => Promise<void>): Promise<readonly number[]> {
    for (let kill = 0; kill < kills; kill++) {
      await sleep(MIN_LIFE_MS + random() * (MAX_LIFE_MS - MIN_LIFE_MS))
      const first = Math.floor(random() * (WRITERS - LAST_BURSTS))
      for (const device of this.devices.slice(first, first + LAST_BURSTS)) writeBurst(device)
      await sleep(random() * MAX_ANSWER_MS)
      this.#killedInFlight += this.devices.reduce((sum, device) => sum + batchesInFlight(device), 0)
      await this.daemon.kill('SIGKILL')
      await whileDead(kill)
      await this.daemon.start()
      this.#readyMs.push(this.daemon.startMs)
      for (const device of this.devices) device.goOnline() // at once, instead of when its next try is due
      await Promise.all(this.devices.map((device) => device.streaming(WAIT_MS)))
    }
    return this.#readyMs
  }

  /** Lets everything arrive and stops the server. Returns how many operations were written. */
  async finish(): Promise<number> {
    this.#writers.stop()
    await Promise.all(this.devices.map((device) => device.synced(WAIT_MS)))
    const total = this.devices.reduce((sum, { journal }) => sum + journal.of('authored').length, 0)
    await Promise.all(
      this.devices.map((device) =>
        device.until(() => device.operations.length === total, `all ${total} are here`, WAIT_MS),
      ),
    )
    await this.daemon.kill('SIGTERM')
    return total
  }

  /** What is wrong with the store after all that; each operation is in it once. */
  async violations(store: ServerStore, total: number): Promise<string[]> {
    const stored = await store.getOperationCount()
    const count = stored === total ? [] : [`${total} operations were written and ${stored} are stored`]
    return [...count, ...(await findViolations({ ...STORED, store, devices: this.devices }))]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#writers.stop()
    await Promise.all(this.devices.map((device) => device.close()))
    await this.daemon[Symbol.asyncDispose]()
  }
}

/** Devices write in turn, also while the server is gone, as people do. */
function writeBursts(devices: readonly Device[]): { stop(): void } {
  let turn = 0
  const timer = setInterval(() => {
    const device = devices[turn++ % devices.length]
    if (device !== undefined) writeBurst(device)
  }, BURST_INTERVAL_MS)
  return { stop: () => clearInterval(timer) }
}

function writeBurst(device: Device): void {
  // Bounded, because a device that is cut off for long must not outrun the others' catching up.
  if (device.pendingCount >= 100) return
  for (let written = 0; written < BURST_OPERATIONS; written += 2) {
    const id = device.insert('todos', { title: `by ${device.journal.name}`, tags: ['load'] })
    device.update('todos', id, { done: true })
  }
}

/** Of its present connection. */
function batchesInFlight({ journal }: Device): number {
  const acknowledged = new Set<string>()
  let inFlight = 0
  for (let index = journal.entries.length - 1; index >= 0; index--) {
    const entry = journal.entries[index]
    if (entry?.kind === 'connection' && entry.state === 'offline') break
    if (entry?.kind === 'acknowledged') acknowledged.add(entry.messageId)
    if (entry?.kind === 'sent' && entry.operationIds.length > 0 && !acknowledged.has(entry.messageId))
      inFlight++
  }
  return inFlight
}

/**
 * Compares what was acknowledged with what a killed server has left, before the next one starts: to that one the
 * devices send again what it does not have, and so make good for what was lost.
 */
class Acknowledged {
  readonly #devices: readonly Device[]
  readonly #storedIds = new Set<string>()
  #position = 0

  constructor(devices: readonly Device[]) {
    this.#devices = devices
  }

  /** @param store of which only what came since the last time is read */
  async lostFrom(store: Pick<ServerStore, 'getOperationsAfterDelivery'>): Promise<string[]> {
    for (;;) {
      const page = await store.getOperationsAfterDelivery(this.#position, 1000)
      for (const { operation } of page) this.#storedIds.add(operation.id)
      if (page.length === 0) break
      this.#position = page.at(-1)?.deliverySequence ?? this.#position
    }
    return this.#devices.flatMap(({ journal }) =>
      [...journal.acknowledgedIds].filter((id) => !this.#storedIds.has(id)),
    )
  }
}

/** What a killed server has sent last may still be on its way to a commit. */
async function nobodyElseIsConnected(database: TestDatabase): Promise<void> {
  const deadline = performance.now() + WAIT_MS
  for (;;) {
    const others = await database.query(
      `SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name NOT LIKE $1`,
      [`${CHECKER}%`],
    )
    if (others.length === 0) return
    if (performance.now() > deadline) throw new Error(`The server that was killed is still connected`)
    await sleep(20)
  }
}

/** What is wrong with what a killed server has left: the tables with the log, and the log with its numbers. */
async function replay(left: ServerStore, kill: number): Promise<string[]> {
  if (kill % REPLAY_EVERY !== 0) return []
  return findViolations({ ...STORED, store: left, devices: [] })
}

/** The files as the killed server left them; copied, for looking repairs. */
function copyAfterKill(directory: string): string {
  const copy = join(directory, 'copy.db')
  for (const suffix of ['', '-wal']) {
    const file = join(directory, `kora-server.db${suffix}`)
    if (existsSync(file)) copyFileSync(file, `${copy}${suffix}`)
  }
  return copy
}

interface Figures {
  readonly readyMs: number[]
  operations: number
  killedInFlight: number
}

function report(name: string, { readyMs, operations, killedInFlight }: Figures): void {
  const sorted = [...readyMs].sort((a, b) => a - b)
  reportFigures(name, {
    kills: readyMs.length,
    operations,
    'batches on their way when their server was killed': killedInFlight,
    'ms until ready (median)': Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0),
    'ms until ready (longest)': Math.round(sorted.at(-1) ?? 0),
  })
  expect(sorted.at(-1)).toBeLessThan(READY_MS)
  expect(killedInFlight).toBeGreaterThan(readyMs.length)
}

// A test mostly waits, for a moment to kill or for a start. How long a start takes is measured of one alone.
const describeKills = IS_FULL ? describe : describe.concurrent

describeKills('a server killed under load loses nothing that it acknowledged', () => {
  test(
    'on SQLite',
    async () => {
      const figures: Figures = { readyMs: [], operations: 0, killedInFlight: 0 }
      for (let round = 0; round < ROUNDS; round++) {
        await using load = await Load.start()
        const { directory } = load.daemon
        const acknowledged = new Acknowledged(load.devices)
        const whileDead = async (kill: number): Promise<void> => {
          const filename = copyAfterKill(directory)
          expect(integrityOf(filename)).toBe('ok')
          const left = createSqliteServerStore({ filename, readOnly: true })
          const lost = await acknowledged.lostFrom(left)
          const violations = await replay(left, kill)
          await left.close()
          expect(lost).toEqual([])
          expect(violations).toEqual([])
        }
        figures.readyMs.push(...(await load.killOften(20, whileDead)))
        const total = await load.finish()
        figures.operations += total
        figures.killedInFlight += load.killedInFlight

        const store = createSqliteServerStore({ filename: join(directory, 'kora-server.db') })
        await store.setSchema(todoSchema)
        const violations = await load.violations(store, total)
        await store.close()
        expect(violations).toEqual([])
      }
      report('killed under load, SQLite', figures)
    },
    timeoutMs(300_000),
  )

  test(
    'on PostgreSQL',
    async () => {
      const figures: Figures = { readyMs: [], operations: 0, killedInFlight: 0 }
      for (let round = 0; round < ROUNDS; round++) {
        await using database = await openTestDatabase()
        const { connectionString } = database
        await using load = await Load.start({ DATABASE_URL: connectionString })
        const store = await createPostgresServerStore({
          connectionString,
          readOnly: true,
          applicationName: CHECKER,
          connectTimeoutMs: WAIT_MS,
          statementTimeoutMs: WAIT_MS,
        })
        const acknowledged = new Acknowledged(load.devices)
        const whileDead = async (kill: number): Promise<void> => {
          await nobodyElseIsConnected(database)
          expect(await acknowledged.lostFrom(store)).toEqual([])
          expect(await replay(store, kill)).toEqual([])
        }
        figures.readyMs.push(...(await load.killOften(10, whileDead)))
        const total = await load.finish()
        figures.operations += total
        figures.killedInFlight += load.killedInFlight

        const violations = await load.violations(store, total)
        await store.close()
        expect(violations).toEqual([])
      }
      report('killed under load, PostgreSQL', figures)
    },
    timeoutMs(300_000),
  )
})
