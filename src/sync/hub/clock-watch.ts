import type { Runtime } from '../../core/runtime.ts'

/** How much the clock may differ from the timers. It is slewed all the time, but by far less in a minute. */
const TOLERANCE_MS = 1000

/** Notices that the clock was set, or that the machine has slept: timers that were set for an instant miss it. */
export class ClockWatch {
  readonly #runtime: Pick<Runtime, 'now' | 'monotonicNow'>
  #offsetMs: number

  constructor(runtime: Pick<Runtime, 'now' | 'monotonicNow'>) {
    this.#runtime = runtime
    this.#offsetMs = this.#offset
  }

  /** @returns true where the clock has moved away from the timers since the last call, at once or bit by bit */
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
