import { copyFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createPostgresServerStore, createSqliteServerStore } from '../../src/index.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { findViolations } from '../support/checker.ts'
import { sleep, writeUntilStopped } from '../support/cluster.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type Device, openDevice } from '../support/device.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { integrityOf } from '../support/sqlite-file.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const WRITERS = 20
const WRITE_INTERVAL_MS = 200 // of each; every operation reaches 20 devices of this process
const [MIN_LIFE_MS, MAX_LIFE_MS] = [50, 2000]
const WAIT_MS = 60_000
/** Each on a new store, so that the devices, which keep all that they receive, stay small. */
const ROUNDS = sized(1, 10)
/** From the start of the process. At the gate's size both databases are tried at once, beside other tests. */
const READY_MS = sized(20_000, 2000)

const random = randomOf(seedOf('killed under load'))

/** One store with 20 devices that write to it, also while its server is gone. */
class Load implements AsyncDisposable {
  readonly daemon: Daemon
  readonly devices: readonly Device[]
  readonly #writers: { stop(): void }
  readonly #readyMs: number[] = []

  private constructor(daemon: Daemon, devices: readonly Device[]) {
    this.daemon = daemon
    this.devices = devices
    this.#writers = writeUntilStopped(devices, WRITE_INTERVAL_MS)
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
          pipelineDepth: 4,
          batchSize: 10,
        }),
      ),
    )
    return new Load(daemon, devices)
  }

  /** Kills the server at a random moment, over and over. */
  async killOften(kills: number, whileDead: () => Promise<void>): Promise<readonly number[]> {
    for (let kill = 0; kill < kills; kill++) {
      await sleep(MIN_LIFE_MS + random() * (MAX_LIFE_MS - MIN_LIFE_MS))
      await this.daemon.kill('SIGKILL')
      await whileDead()
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
    return [...count, ...(await findViolations({ store, devices: this.devices, collections: ['todos'] }))]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#writers.stop()
    await Promise.all(this.devices.map((device) => device.close()))
    await this.daemon[Symbol.asyncDispose]()
  }
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

/** The files as the killed server left them; copied, for looking repairs. */
function copyAfterKill(directory: string): string {
  const copy = join(directory, 'copy.db')
  for (const suffix of ['', '-wal']) {
    const file = join(directory, `kora-server.db${suffix}`)
    if (existsSync(file)) copyFileSync(file, `${copy}${suffix}`)
  }
  return copy
}

function report(name: string, readyMs: readonly number[], operations: number): void {
  const sorted = [...readyMs].sort((a, b) => a - b)
  reportFigures(name, {
    kills: readyMs.length,
    operations,
    'ms until ready (median)': Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0),
    'ms until ready (longest)': Math.round(sorted.at(-1) ?? 0),
  })
  expect(sorted.at(-1)).toBeLessThan(READY_MS)
}

// A test mostly waits, for a moment to kill or for a start. How long a start takes is measured of one alone.
const describeKills = IS_FULL ? describe : describe.concurrent

describeKills('a server killed under load loses nothing that it acknowledged', () => {
  test(
    'on SQLite',
    async () => {
      const readyMs: number[] = []
      let operations = 0
      for (let round = 0; round < ROUNDS; round++) {
        await using load = await Load.start()
        const { directory } = load.daemon
        const acknowledged = new Acknowledged(load.devices)
        const whileDead = async (): Promise<void> => {
          const filename = copyAfterKill(directory)
          expect(integrityOf(filename)).toBe('ok')
          const left = createSqliteServerStore({ filename, readOnly: true })
          const lost = await acknowledged.lostFrom(left)
          await left.close()
          expect(lost).toEqual([])
        }
        readyMs.push(...(await load.killOften(20, whileDead)))
        const total = await load.finish()
        operations += total

        const store = createSqliteServerStore({ filename: join(directory, 'kora-server.db') })
        await store.setSchema(todoSchema)
        const violations = await load.violations(store, total)
        await store.close()
        expect(violations).toEqual([])
      }
      report('killed under load, SQLite', readyMs, operations)
    },
    timeoutMs(300_000),
  )

  test(
    'on PostgreSQL',
    async () => {
      const readyMs: number[] = []
      let operations = 0
      for (let round = 0; round < ROUNDS; round++) {
        await using database = await openTestDatabase()
        const { connectionString } = database
        await using load = await Load.start({ DATABASE_URL: connectionString })
        const store = await createPostgresServerStore({ connectionString, readOnly: true })
        const acknowledged = new Acknowledged(load.devices)
        const whileDead = async (): Promise<void> => {
          expect(await acknowledged.lostFrom(store)).toEqual([])
        }
        readyMs.push(...(await load.killOften(10, whileDead)))
        const total = await load.finish()
        operations += total

        const violations = await load.violations(store, total)
        await store.close()
        expect(violations).toEqual([])
      }
      report('killed under load, PostgreSQL', readyMs, operations)
    },
    timeoutMs(300_000),
  )
})
