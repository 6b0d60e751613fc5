import { ProtocolError } from '../../core/errors.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'

/** Time between two log lines of one kind, because bad announcements may come as a flood. */
const LOG_INTERVAL_MS = 10_000

export interface AnnouncementProblemsOptions {
  readonly runtime: Pick<Runtime, 'monotonicNow'>
  readonly logger: Logger
  /** Name of the database, for the log. */
  readonly storeName: string
}

type ProblemKind = 'dropped' | 'failed' | 'unsent'

/**
 * Problems with announcements. Every role of the database can send announcements, so none may end the process: each
 * leaves no more than a log line.
 */
export class AnnouncementProblems {
  readonly #options: AnnouncementProblemsOptions
  readonly #loggedAt = new Map<ProblemKind, number>()
  readonly #unlogged = new Map<ProblemKind, number>()

  constructor(options: AnnouncementProblemsOptions) {
    this.#options = options
  }

  /**
   * Reports a problem with an announcement that was received, or was to be sent.
   *
   * @param topic null where it could not be read
   * @param error a `ProtocolError` means that no server sends such an announcement; any other error is our own
   */
  report(topic: string | null, error: unknown): void {
    const isForeign = error instanceof ProtocolError
    const announcements = this.#countUnlogged(isForeign ? 'dropped' : 'failed')
    if (announcements === null) return
    const { logger, storeName: store } = this.#options
    const counted = { store, announcements, topic }
    if (isForeign) {
      logEvent(logger, LOG_EVENTS.announcementDropped, { ...counted, problem: error.message })
    } else logEvent(logger, LOG_EVENTS.announcementFailed, { ...counted, err: error })
  }

  /** Reports an announcement for which there is no room among those waiting to be sent. */
  reportUnsent(topic: string): void {
    const announcements = this.#countUnlogged('unsent')
    if (announcements === null) return
    const { logger, storeName: store } = this.#options
    logEvent(logger, LOG_EVENTS.announcementUnsent, { store, announcements, topic })
  }

  /** @returns the number since the last log line, including this one, if the next line is due; otherwise null */
  #countUnlogged(kind: ProblemKind): number | null {
    const count = (this.#unlogged.get(kind) ?? 0) + 1
    const now = this.#options.runtime.monotonicNow()
    const isDue = now - (this.#loggedAt.get(kind) ?? Number.NEGATIVE_INFINITY) >= LOG_INTERVAL_MS
    this.#unlogged.set(kind, isDue ? 0 : count)
    if (isDue) this.#loggedAt.set(kind, now)
    return isDue ? count : null
  }
}
