import type { Runtime, Timer } from '../core/runtime.ts'

export interface IntervalScheduleOptions {
  readonly runtime: Runtime
  readonly everyMs: number
  /**
   * One run. It should end soon after the signal has aborted.
   *
   * @returns ms until the next run
   */
  readonly run: (signal: AbortSignal) => Promise<number>
  /** Called with the error that ended a run, which is then repeated; not after a stop. */
  readonly onFailure: (error: unknown) => void
}

const RETRY_MS = 60_000
const MAX_WAIT_MS = 60 * 60 * 1000 // a timer cannot wait for a month

/** Runs something again and again, with a pause after each run. */
export class IntervalSchedule {
  readonly #options: IntervalScheduleOptions
  readonly #stop = new AbortController()
  #timer: Timer | null = null
  #running: Promise<void> = Promise.resolve()

  constructor(options: IntervalScheduleOptions) {
    this.#options = options
  }

  start(delayMs: number): void {
    this.#waitUntil(this.#options.runtime.monotonicNow() + delayMs)
  }

  /** Resolves when nothing is running. */
  settled(): Promise<void> {
    return this.#running
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    this.#timer?.cancel()
    await this.#running
  }

  #waitUntil(dueAt: number): void {
    if (this.#stop.signal.aborted) return
    const { runtime } = this.#options
    const waitMs = Math.max(0, dueAt - runtime.monotonicNow())
    this.#timer = runtime.setTimer(Math.min(waitMs, MAX_WAIT_MS), () => {
      if (runtime.monotonicNow() < dueAt) this.#waitUntil(dueAt)
      else this.#running = this.#run().then((nextMs) => this.start(nextMs))
    })
  }

  async #run(): Promise<number> {
    const { run, onFailure, everyMs } = this.#options
    try {
      return await run(this.#stop.signal)
    } catch (error) {
      if (!this.#stop.signal.aborted) onFailure(error)
      return Math.min(RETRY_MS, everyMs)
    }
  }
}
