import { createPostgresServerStore } from '../../src/index.ts'
import { findViolations } from './checker.ts'
import { type Daemon, startDaemon } from './daemon.ts'
import { type Device, openDevice } from './device.ts'
import type { TestDatabase } from './postgres.ts'
import { openTcpProxy, type TcpProxy } from './tcp-proxy.ts'
import { schemaFile, todoSchema } from './todo-app.ts'

const CONVERGE_MS = Number(process.env.KORA_TEST_CONVERGE_MS ?? 60_000)

export interface ClusterOptions {
  readonly database: TestDatabase
  readonly servers: number
}

/** Daemons on one database, started at once, behind a proxy that knows nothing of them. */
export async function startCluster({ database, servers }: ClusterOptions): Promise<Cluster> {
  const options = {
    args: ['--schema', 'schema.mjs'],
    files: { 'schema.mjs': schemaFile() },
    env: { DATABASE_URL: database.connectionString },
  }
  const daemons = await Promise.all(Array.from({ length: servers }, () => startDaemon(options)))
  const proxy = await openTcpProxy(daemons.map(({ url }) => ({ port: Number(new URL(url).port) })))
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
  async openDevices(count: number, url = this.url): Promise<Device[]> {
    const devices = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        openDevice({
          url,
          schema: todoSchema,
          name: `device ${this.#devices.length + index}`,
          pipelineDepth: 4,
          batchSize: 10,
          ackTimeoutMs: 5000,
        }),
      ),
    )
    this.#devices.push(...devices)
    return devices
  }

  /** Everything that was written is acknowledged, stored once, and the same everywhere. */
  async findViolations(): Promise<string[]> {
    const devices = this.#devices
    await Promise.all(devices.map((device) => device.synced(CONVERGE_MS)))
    const total = devices.reduce((sum, device) => sum + device.journal.of('authored').length, 0)
    await Promise.all(
      devices.map((device) =>
        device.until(() => device.operations.length >= total, `all ${total} are here`, CONVERGE_MS),
      ),
    )
    const { connectionString } = this.#database
    const store = await createPostgresServerStore({ connectionString, readOnly: true })
    try {
      const stored = await store.getOperationCount()
      const count = stored === total ? [] : [`${total} operations were written and ${stored} are stored`]
      return [...count, ...(await findViolations({ store, devices, collections: ['todos'] }))]
    } finally {
      await store.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.close()))
    await this.proxy[Symbol.asyncDispose]()
    await Promise.all(this.daemons.map((daemon) => daemon[Symbol.asyncDispose]()))
  }
}

/** Inserts and updates without pause, also while the servers are gone, as people do. */
export function writeUntilStopped(devices: readonly Device[], intervalMs = 20): { stop(): void } {
  const timers = devices.map((device) => {
    let previous: string | null = null
    return setInterval(() => {
      // Bounded, because a device that is cut off for long must not outrun the others' catching up.
      if (device.pendingCount >= 100) return
      const id = device.insert('todos', { title: `by ${device.journal.name}`, tags: ['load'] })
      if (previous !== null) device.update('todos', previous, { done: true })
      previous = id
    }, intervalMs)
  })
  return { stop: () => timers.forEach(clearInterval) }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
