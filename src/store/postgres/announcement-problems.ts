import { ProtocolError } from '../../core/errors.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'

/** Between two lines of the log of one kind: whoever sends what is wrong may send a flood of it. */
const LOG_INTERVAL_MS = 10_000

export interface AnnouncementProblemsOptions {
  readonly runtime: Pick<Runtime, 'monotonicNow'>
  readonly logger: Logger
  /** Name of the database, for the log. */
  readonly storeName: string
}

type ProblemKind = 'dropped' | 'failed' | 'unsent'

/**
 * What went wrong with announcements. Every role of the database can send some to be heard, so that none ends the
 * process, and all that is left of one is a line of the log.
 */
export class AnnouncementProblems {
  readonly #options: AnnouncementProblemsOptions
  readonly #loggedAt = new Map<ProblemKind, number>()
  readonly #unlogged = new Map<ProblemKind, number>()

  constructor(options: AnnouncementProblemsOptions) {
    this.#options = options
  }

  /**
   * Reports an announcement that was heard, or was to be made.
   *
   * @param topic null where it could not be read
   * @param error a `ProtocolError` says that no server sends such an announcement, any other one is ours
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

  /** Reports an announcement that there is no room for among those that wait to be sent. */
  reportUnsent(topic: string): void {
    const announcements = this.#countUnlogged('unsent')
    if (announcements === null) return
    const { logger, storeName: store } = this.#options
    logEvent(logger, LOG_EVENTS.announcementUnsent, { store, announcements, topic })
  }

  /** @returns how many there were since the last line, this one too, where it is time for the next; null: it is not */
  #countUnlogged(kind: ProblemKind): number | null {
    const count = (this.#unlogged.get(kind) ?? 0) + 1
    const now = this.#options.runtime.monotonicNow()
    const isDue = now - (this.#loggedAt.get(kind) ?? Number.NEGATIVE_INFINITY) >= LOG_INTERVAL_MS
    this.#unlogged.set(kind, isDue ? 0 : count)
    if (isDue) this.#loggedAt.set(kind, now)
    return isDue ? count : null
  }
}
