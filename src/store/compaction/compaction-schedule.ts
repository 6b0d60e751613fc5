import { LOG_EVENTS, type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { CompactableStore } from './compaction.ts'
import { rulesFor, runCompaction } from './run-compaction.ts'

export interface CompactionScheduleOptions {
  readonly store: CompactableStore
  readonly runtime: Runtime
  readonly logger: Logger
  /** ms that superseded operations stay; null: for ever */
  readonly keepForMs: number | null
  /** ms after which deleted records are forgotten; null: never */
  readonly tombstonesMs: number | null
  readonly everyMs: number
}

/** What the compactions of this process came to. */
export interface CompactionStats {
  readonly operationsDropped: number
  /** ms that the last one took; 0 before it */
  readonly lastDurationMs: number
  /** ms since the epoch; null before the first one */
  readonly lastSuccessAt: number | null
}

// A restart is when everybody comes back: there is better to do.
const FIRST_RUN_MS = 60_000
const RETRY_MS = 60_000
const MAX_WAIT_MS = 60 * 60 * 1000 // a timer cannot wait for a month

/** Compacts the log from time to time. Of several servers of one database one does it at a time. */
export class CompactionSchedule {
  readonly #options: CompactionScheduleOptions
  #timer: Timer | null = null
  #running: Promise<void> = Promise.resolve()
  #dueAt = 0
  #isStopped = false
  #stats: CompactionStats = { operationsDropped: 0, lastDurationMs: 0, lastSuccessAt: null }

  constructor(options: CompactionScheduleOptions) {
    this.#options = options
  }

  get stats(): CompactionStats {
    return this.#stats
  }

  start(): void {
    const { runtime, everyMs } = this.#options
    this.#dueAt = runtime.monotonicNow() + Math.min(FIRST_RUN_MS, everyMs)
    this.#wait()
  }

  /** Resolves when no compaction runs. */
  settled(): Promise<void> {
    return this.#running
  }

  /** Ends a compaction that runs after its present step. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    await this.#running
  }

  #wait(): void {
    if (this.#isStopped) return
    const { runtime } = this.#options
    const waitMs = Math.max(0, this.#dueAt - runtime.monotonicNow())
    this.#timer = runtime.setTimer(Math.min(waitMs, MAX_WAIT_MS), () => {
      if (runtime.monotonicNow() < this.#dueAt) {
        this.#wait()
        return
      }
      this.#running = this.#run().then((nextMs) => {
        this.#dueAt = runtime.monotonicNow() + nextMs
        this.#wait()
      })
    })
  }

  /** @returns ms until the next one */
  async #run(): Promise<number> {
    const { store, logger, everyMs } = this.#options
    try {
      const done = await store.withCompactionLock(async () => {
        await this.#compact()
        return true
      })
      if (done === null) logEvent(logger, LOG_EVENTS.compactionLeft)
      return everyMs
    } catch (error) {
      if (!this.#isStopped) logEvent(logger, LOG_EVENTS.compactionFailed, { err: error })
      return Math.min(RETRY_MS, everyMs)
    }
  }

  async #compact(): Promise<void> {
    const { store, runtime, logger, keepForMs, tombstonesMs } = this.#options
    const startedAt = runtime.monotonicNow()
    const { records, operations, bytes, tombstones } = await runCompaction(
      store,
      rulesFor({ keepForMs, tombstonesMs }, runtime.now()),
      { runtime, isConsiderate: true, isStopped: () => this.#isStopped },
    )
    if (this.#isStopped) return
    const durationMs = Math.round(runtime.monotonicNow() - startedAt)
    this.#stats = {
      operationsDropped: this.#stats.operationsDropped + operations,
      lastDurationMs: durationMs,
      lastSuccessAt: runtime.now(),
    }
    logEvent(logger, LOG_EVENTS.logCompacted, { records, operations, bytes, tombstones, durationMs })
  }
}
