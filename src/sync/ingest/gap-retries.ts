import type { Runtime, Timer } from '../../core/runtime.ts'
import type { PushSession } from './push-session.ts'

/**
 * Waits before a batch that was refused over a gap is tried again. A slow uplink may bring a large request long
 * after a small one that followed it. Clients wait 30 s for an answer, unless they have taken another one for it.
 */
export const RETRIES_OVER_GAP_MS: readonly number[] = [1000, 4000, 10_000, 14_000]
const TRY_AGAIN = 1013 // close code; clients that poll, whose messages alone get lost, only learn of the end

/**
 * Keeps the batches of one session that were refused over a gap until they are tried again, because the missing one
 * may only be late. The client is told nothing meanwhile. If the missing batch never comes, the session ends: only
 * by returning does the client send it again, once another answer has cleared it from its queue.
 */
export class GapRetries {
  readonly #session: Pick<PushSession, 'closeWith'>
  readonly #runtime: Pick<Runtime, 'setTimer'>
  readonly #maxBytes: number
  #bytes = 0
  /** Each runs until its batch is tried again, or given up. */
  readonly #timers = new Set<Timer>()
  /** Ends the session, because there was no room to keep a batch. */
  #end: Timer | null = null

  /** @param maxBytes of all batches that are kept; a single one may be larger */
  constructor(session: Pick<PushSession, 'closeWith'>, runtime: Pick<Runtime, 'setTimer'>, maxBytes: number) {
    this.#session = session
    this.#runtime = runtime
    this.#maxBytes = maxBytes
  }

  /**
   * Tries a batch again after the first of the waits, or ends the session where no wait is left.
   *
   * @param bytes of the batch, which `tryAgain` keeps
   * @param tryAgain called with the waits that are left
   */
  schedule(
    bytes: number,
    [waitMs, ...retriesMs]: readonly number[],
    tryAgain: (retriesMs: readonly number[]) => void,
  ): void {
    if (waitMs === undefined) {
      this.#endSession()
      return
    }
    if (this.#bytes > 0 && this.#bytes + bytes > this.#maxBytes) {
      // Not at once: the batches that are kept may be stored by then, and need not be sent again.
      this.#end ??= this.#later(sum([waitMs, ...retriesMs]), () => this.#endSession())
      return
    }
    this.#bytes += bytes
    this.#later(waitMs, () => {
      this.#bytes -= bytes
      tryAgain(retriesMs)
    })
  }

  stop(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }

  #endSession(): void {
    this.#session.closeWith(TRY_AGAIN, 'a message of the client is missing')
  }

  #later(waitMs: number, action: () => void): Timer {
    const timer = this.#runtime.setTimer(waitMs, () => {
      this.#timers.delete(timer)
      action()
    })
    this.#timers.add(timer)
    return timer
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
