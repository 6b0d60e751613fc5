import { ProtocolError } from '../../core/errors.ts'
import { LOG_EVENTS, type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'

/** Between two lines of the log of one kind: whoever sends what is wrong may send a flood of it. */
const LOG_INTERVAL_MS = 10_000

export interface AnnouncementProblemsOptions {
  readonly runtime: Pick<Runtime, 'monotonicNow'>
  readonly logger: Logger
  /** Of the database, for the log. */
  readonly storeName: string
}

/**
 * What went wrong with announcements that were heard. Every role of the database can send them, so that none ends
 * the process, and all that is left of one is a line of the log.
 */
export class AnnouncementProblems {
  readonly #options: AnnouncementProblemsOptions
  readonly #loggedAt = { dropped: Number.NEGATIVE_INFINITY, failed: Number.NEGATIVE_INFINITY }
  readonly #unlogged = { dropped: 0, failed: 0 }

  constructor(options: AnnouncementProblemsOptions) {
    this.#options = options
  }

  /**
   * @param topic null where it could not be read
   * @param error a `ProtocolError` says that no server sends such an announcement, any other one is ours
   */
  report(topic: string | null, error: unknown): void {
    const isForeign = error instanceof ProtocolError
    const kind = isForeign ? 'dropped' : 'failed'
    this.#unlogged[kind]++
    const now = this.#options.runtime.monotonicNow()
    if (now - this.#loggedAt[kind] < LOG_INTERVAL_MS) return
    const { logger, storeName: store } = this.#options
    const counted = { store, announcements: this.#unlogged[kind], topic }
    if (isForeign) {
      logEvent(logger, LOG_EVENTS.announcementDropped, { ...counted, problem: error.message })
    } else logEvent(logger, LOG_EVENTS.announcementFailed, { ...counted, err: error })
    this.#loggedAt[kind] = now
    this.#unlogged[kind] = 0
  }
}
