import type { AuthProvider } from '../../../src/auth/provider.ts'
import type { LogFields, Logger } from '../../../src/core/logger.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { SyncHub } from '../../../src/sync/hub.ts'
import type { SyncLimits } from '../../../src/sync/options.ts'
import type { ServerTransport } from '../../../src/sync/transport.ts'
import { faultyStore, type StoreFaults } from './faulty-store.ts'
import type { Random } from './random.ts'
import { type Scheduler, TaskOwner } from './scheduler.ts'

export interface ServerOptions {
  readonly name: string
  readonly scheduler: Scheduler
  readonly random: Random
  readonly store: ServerStore
  readonly storeLatencyMs: number
  readonly maxDeltaBytes: number
  readonly auth: AuthProvider
  readonly limits: SyncLimits
  readonly batchSize: number
  /** How far the clock of the machine is ahead. */
  readonly clockMs: number
  /** Of the app that it starts with; devices of all earlier versions are let in. */
  readonly schemaVersion: () => number
  /** A commit of this server is there to be read. */
  readonly onCommitted: (server: Server) => void
  readonly onLog: (level: keyof Logger, message: string, fields: LogFields) => void
}

/** Asked at this interval whatever is announced, as by the stores of more than one server. */
const POLL_MS = 5_000

/** One server process: it starts, serves, stops or dies, and starts again on the same database. */
export class Server {
  readonly name: string
  readonly faults: StoreFaults = { appends: [], outageUntil: 0, readFailureRate: 0 }
  readonly #options: ServerOptions
  #owner: TaskOwner
  #hub: SyncHub | null = null
  #listeners = new Set<() => void>()
  #starts = 0
  #pendingQuestions = 0

  constructor(options: ServerOptions) {
    this.name = options.name
    this.#options = options
    this.#owner = new TaskOwner(options.name)
  }

  /** null while it is down. */
  get hub(): SyncHub | null {
    return this.#hub
  }

  get pendingTimers(): number {
    return this.#owner.pending
  }

  get pendingQuestions(): number {
    return this.#pendingQuestions
  }

  start(): void {
    if (this.#hub !== null) return
    const { scheduler, random, store, clockMs, auth, limits, batchSize } = this.#options
    this.#starts++
    this.#owner = new TaskOwner(`${this.name} ${this.#starts}`)
    this.#listeners = new Set()
    this.#pendingQuestions = 0
    const owner = this.#owner
    this.#hub = new SyncHub({
      store: faultyStore({
        inner: store,
        scheduler,
        random,
        latencyMs: this.#options.storeLatencyMs,
        maxDeltaBytes: this.#options.maxDeltaBytes,
        owner,
        faults: this.faults,
        onCommit: (listener) => this.#subscribe(listener, owner),
        onCommitted: () => this.#options.onCommitted(this),
        onPending: (change) => {
          if (owner === this.#owner) this.#pendingQuestions += change
        },
      }),
      runtime: scheduler.runtime(owner, () => clockMs),
      logger: this.#logger(),
      auth,
      batchSize,
      schemaVersion: this.#options.schemaVersion(),
      supportedSchemaVersions: { min: 1, max: this.#options.schemaVersion() },
      limits,
    })
    void this.#hub.open().catch(() => {}) // each session that comes tries again
  }

  accept(transport: ServerTransport): void {
    this.#hub?.connect(transport)
  }

  /** Another server's commit is announced. */
  announce(): void {
    if (this.#hub !== null) for (const listener of this.#listeners) listener()
  }

  /** Stops as a process that is asked to. */
  async stop(spreadMs = 0): Promise<void> {
    const hub = this.#hub
    await hub?.stop({ spreadMs })
    if (this.#hub === hub) this.#hub = null
  }

  /** Ends as a process that is killed: nothing of it runs on. */
  kill(): void {
    this.#owner.isDead = true
    this.#hub = null
  }

  #subscribe(listener: () => void, owner: TaskOwner): () => void {
    const { scheduler } = this.#options
    this.#listeners.add(listener)
    let timer = scheduler.schedule(POLL_MS, owner, poll)
    function poll(): void {
      listener()
      timer = scheduler.schedule(POLL_MS, owner, poll)
    }
    return () => {
      this.#listeners.delete(listener)
      timer.cancel()
    }
  }

  #logger(): Logger {
    const write = (level: keyof Logger) => (fields: LogFields, message: string) =>
      this.#options.onLog(level, `${this.name}: ${message}`, fields)
    const logger: Logger = {
      trace: write('trace'),
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      child: () => logger,
    }
    return logger
  }
}
