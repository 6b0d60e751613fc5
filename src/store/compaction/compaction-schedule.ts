import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import { IntervalSchedule } from '../interval-schedule.ts'
import type { ServerStore } from '../store.ts'
import type { CompactableStore } from './compaction.ts'
import { rulesForLog, runCompaction } from './run-compaction.ts'

export interface CompactionScheduleOptions {
  readonly store: CompactableStore & Pick<ServerStore, 'getMaxDeliverySequence'>
  readonly runtime: Runtime
  readonly logger: Logger
  /** ms for which superseded operations are kept; null: forever */
  readonly keepForMs: number | null
  /** ms after which deleted records are purged; null: never */
  readonly tombstonesMs: number | null
  readonly everyMs: number
}

/** The totals of the compactions of this process. */
export interface CompactionStats {
  readonly operationsDropped: number
  /** ms that the last one took; 0 before the first */
  readonly lastDurationMs: number
  /** ms since the epoch; null before the first one */
  readonly lastSuccessAt: number | null
}

// Right after a restart all clients return, and have priority.
const FIRST_RUN_MS = 60_000

/** Compacts the log at intervals. Among several servers of a database, one does it at a time. */
export class CompactionSchedule {
  readonly #options: CompactionScheduleOptions
  readonly #schedule: IntervalSchedule
  #stats: CompactionStats = { operationsDropped: 0, lastDurationMs: 0, lastSuccessAt: null }

  constructor(options: CompactionScheduleOptions) {
    const { runtime, logger, everyMs } = options
    this.#options = options
    this.#schedule = new IntervalSchedule({
      runtime,
      everyMs,
      run: (signal) => this.#run(signal),
      onFailure: (err) => logEvent(logger, LOG_EVENTS.compactionFailed, { err }),
    })
  }

  get stats(): CompactionStats {
    return this.#stats
  }

  start(): void {
    this.#schedule.start(Math.min(FIRST_RUN_MS, this.#options.everyMs))
  }

  /** Resolves when no compaction runs. */
  settled(): Promise<void> {
    return this.#schedule.settled()
  }

  /** Ends a compaction that runs after its present step. */
  stop(): Promise<void> {
    return this.#schedule.stop()
  }

  /** @returns ms until the next one */
  async #run(signal: AbortSignal): Promise<number> {
    const { store, logger, everyMs } = this.#options
    const done = await store.withCompactionLock(async () => {
      await this.#compact(signal)
      return true
    })
    if (done === null) logEvent(logger, LOG_EVENTS.compactionLeft)
    return everyMs
  }

  async #compact(signal: AbortSignal): Promise<void> {
    const { store, runtime, logger, keepForMs, tombstonesMs } = this.#options
    const startedAt = runtime.monotonicNow()
    const rules = await rulesForLog(store, { keepForMs, tombstonesMs }, { nowMs: runtime.now() })
    const { records, operations, bytes, tombstones } = await runCompaction(store, rules, {
      runtime,
      isConsiderate: true,
      isStopped: () => signal.aborted,
      onHeld: () => logEvent(logger, LOG_EVENTS.compactionHeld),
    })
    if (signal.aborted) return
    const durationMs = Math.round(runtime.monotonicNow() - startedAt)
    this.#stats = {
      operationsDropped: this.#stats.operationsDropped + operations,
      lastDurationMs: durationMs,
      lastSuccessAt: runtime.now(),
    }
    logEvent(logger, LOG_EVENTS.logCompacted, { records, operations, bytes, tombstones, durationMs })
  }
}
