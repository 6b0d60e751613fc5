import { sleep } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'

const MAX_PAUSE_MS = 6 // 160 to 190 clients a second return without harm; fewer need not be waited for
const SCHEDULED_SHARE = 0.8 // of the time; the rest is for what a standstill delays
const WINDOW_MS = 1000
/** How much faster than scheduled a late closing may go: at the scheduled pace it would stay late to the end. */
const CATCH_UP = 1.15

export interface ClosePaceOptions {
  readonly runtime: Runtime
  readonly connections: number
  /** Time after which connections are closed without waiting, in ms; 0: at once. */
  readonly spreadMs: number
}

/**
 * Spreads the closing of many connections, so that their clients do not all return at once. Each connection is
 * given a time to begin, and takes its turn once it has been answered: connections that all waited for one slow
 * commit, or for a busy machine, must not be closed together after it.
 */
export class ClosePace {
  readonly #runtime: Runtime
  readonly #startedAt: number
  readonly #spreadMs: number
  readonly #pauseMs: number
  readonly #maxPerWindow: number
  readonly #closedAt: number[] = []
  #lastTurn: Promise<void> = Promise.resolve()

  constructor({ runtime, connections, spreadMs }: ClosePaceOptions) {
    this.#runtime = runtime
    this.#startedAt = runtime.monotonicNow()
    this.#spreadMs = spreadMs
    this.#pauseMs = Math.min((spreadMs * SCHEDULED_SHARE) / connections, MAX_PAUSE_MS)
    this.#maxPerWindow = Math.ceil((CATCH_UP * WINDOW_MS) / this.#pauseMs)
  }

  /**
   * Resolves when the connection with this index, from 0, is to stop taking messages.
   *
   * @param ended aborted when the connection has ended by itself, and waits no longer
   */
  begins(index: number, ended: AbortSignal): Promise<void> {
    return this.#sleepUntil(this.#startedAt + this.#pauseMs * index, ended)
  }

  /**
   * Resolves when one more connection may be closed.
   *
   * @param ended as of `begins`
   */
  turn(ended: AbortSignal): Promise<void> {
    this.#lastTurn = this.#lastTurn.then(() => this.#waitForRoom(ended))
    return this.#lastTurn
  }

  async #waitForRoom(ended: AbortSignal): Promise<void> {
    const earlier = this.#closedAt.at(-this.#maxPerWindow)
    if (earlier !== undefined) {
      await this.#sleepUntil(Math.min(earlier + WINDOW_MS, this.#startedAt + this.#spreadMs), ended)
    }
    if (!ended.aborted) this.#closedAt.push(this.#runtime.monotonicNow())
  }

  #sleepUntil(at: number, ended: AbortSignal): Promise<void> {
    const delayMs = at - this.#runtime.monotonicNow()
    if (delayMs <= 0) return Promise.resolve()
    return sleep(this.#runtime, delayMs, ended)
  }
}
