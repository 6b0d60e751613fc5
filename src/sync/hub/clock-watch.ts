import type { Runtime } from '../../core/runtime.ts'

/** So much the clock may be off the timers: it is slewed all the time, by far less in a minute. */
const TOLERANCE_MS = 1000

/** Notices that the clock was set, or that the machine has slept: timers that were set for an instant miss it. */
export class ClockWatch {
  readonly #runtime: Pick<Runtime, 'now' | 'monotonicNow'>
  #offsetMs: number

  constructor(runtime: Pick<Runtime, 'now' | 'monotonicNow'>) {
    this.#runtime = runtime
    this.#offsetMs = this.#offset
  }

  /** @returns true where it has not gone with the timers since it was last asked, or has moved away from them bit by bit */
  hasStepped(): boolean {
    const offset = this.#offset
    if (Math.abs(offset - this.#offsetMs) < TOLERANCE_MS) return false
    this.#offsetMs = offset
    return true
  }

  get #offset(): number {
    return this.#runtime.now() - this.#runtime.monotonicNow()
  }
}
