import { createPostgresServerStore } from '../../src/index.ts'
import { type CheckOptions, findViolations } from './checker.ts'
import { type Daemon, type DaemonOptions, startDaemon } from './daemon.ts'
import { type Device, type DeviceOptions, openDevice } from './device.ts'
import type { TestDatabase } from './postgres.ts'
import { openTcpProxy, type TcpProxy } from './tcp-proxy.ts'
import { schemaFile, todoSchema } from './todo-app.ts'

const CONVERGE_MS = Number(process.env.KORA_TEST_CONVERGE_MS ?? 60_000)

export interface ClusterOptions {
  readonly database: TestDatabase
  readonly servers: number
  /** What else each daemon is started with, by its number. */
  readonly optionsOf?: (index: number) => DaemonOptions
}

/** Daemons on one database, started at once, behind a proxy that knows nothing of them. */
export async function startCluster({ database, servers, optionsOf }: ClusterOptions): Promise<Cluster> {
  const daemons = await Promise.all(
    Array.from({ length: servers }, (_, index) => {
      const { args = [], files, env, ...others } = optionsOf?.(index) ?? {}
      return startDaemon({
        args: ['--schema', 'schema.mjs', ...args],
        files: { 'schema.mjs': schemaFile(), ...files },
        env: { DATABASE_URL: database.connectionString, ...env },
        ...others,
      })
    }),
  )
  const proxy = await openTcpProxy(
    daemons.map(({ url }) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) })),
  )
  return new Cluster(database, daemons, proxy)
}

export class Cluster implements AsyncDisposable {
  readonly daemons: readonly Daemon[]
  readonly proxy: TcpProxy
  readonly #database: TestDatabase
  readonly #devices: Device[] = []

  constructor(database: TestDatabase, daemons: readonly Daemon[], proxy: TcpProxy) {
    this.#database = database
    this.daemons = daemons
    this.proxy = proxy
  }

  get devices(): readonly Device[] {
    return this.#devices
  }

  /** Where clients connect: whichever server comes next. */
  get url(): string {
    return `ws://127.0.0.1:${this.proxy.port}/`
  }

  daemon(index: number): Daemon {
    const daemon = this.daemons[index]
    if (daemon === undefined) throw new Error(`The cluster has no daemon ${index}`)
    return daemon
  }

  /** Devices that connect through the proxy, or to one daemon. */
  async openDevices(count: number, url = this.url, options: Partial<DeviceOptions> = {}): Promise<Device[]> {
    const devices = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        openDevice({
          url,
          schema: todoSchema,
          name: `device ${this.#devices.length + index}`,
          pipelineDepth: 4,
          batchSize: 10,
          ackTimeoutMs: 5000,
          isOnline: false,
          ...options,
        }),
      ),
    )
    this.#devices.push(...devices)
    for (const device of devices) device.goOnline()
    await Promise.all(devices.map((device) => device.streaming(CONVERGE_MS)))
    return devices
  }

  /** Operations that the devices have made. */
  get authoredCount(): number {
    return this.#authoredIds().length
  }

  /** Resolves when every device has all that was written so far, by whomever. */
  async converged(timeoutMs = CONVERGE_MS): Promise<void> {
    const ids = this.#authoredIds()
    await Promise.all(
      this.#devices.map((device) =>
        device.until(hasAll(device, ids), `all ${ids.length} are here`, timeoutMs),
      ),
    )
  }

  /** Everything that was written is acknowledged, stored once, and the same everywhere. */
  async findViolations(options: Pick<CheckOptions, 'isRenumbered'> = {}): Promise<string[]> {
    const devices = this.#devices
    await Promise.all(devices.map((device) => device.synced(CONVERGE_MS)))
    await this.converged()
    const total = this.authoredCount
    const { connectionString } = this.#database
    const store = await createPostgresServerStore({ connectionString, readOnly: true })
    try {
      const stored = await store.getOperationCount()
      const count = stored === total ? [] : [`${total} operations were written and ${stored} are stored`]
      return [...count, ...(await findViolations({ ...options, store, devices, collections: ['todos'] }))]
    } finally {
      await store.close()
    }
  }

  #authoredIds(): string[] {
    return this.#devices.flatMap(({ journal }) => journal.of('authored').map(({ operation }) => operation.id))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.close()))
    await this.proxy[Symbol.asyncDispose]()
    await Promise.all(this.daemons.map((daemon) => daemon[Symbol.asyncDispose]()))
  }
}

/** Asked again and again, it goes on at the first operation that was missing the last time. */
function hasAll(device: Device, ids: readonly string[]): () => boolean {
  let found = 0
  return () => {
    for (let id = ids[found]; id !== undefined && device.has(id); id = ids[found]) found++
    return found === ids.length
  }
}

/**
 * Each device inserts and updates once per interval, one after the other, also while the servers are
 * gone, as people do.
 */
export function writeUntilStopped(devices: readonly Device[], intervalMs = 20): { stop(): void } {
  const previousIds = new Map<Device, string>()
  let turn = 0
  const timer = setInterval(() => {
    const device = devices[turn++ % devices.length]
    // Bounded, because a device that is cut off for long must not outrun the others' catching up.
    if (device === undefined || device.pendingCount >= 100) return
    const previous = previousIds.get(device)
    if (previous !== undefined) device.update('todos', previous, { done: true })
    previousIds.set(device, device.insert('todos', { title: `by ${device.journal.name}`, tags: ['load'] }))
  }, intervalMs / devices.length)
  return { stop: () => clearInterval(timer) }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
