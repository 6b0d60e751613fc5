import type { Runtime } from '../../core/runtime.ts'

/**
 * Three round trips on a poor mobile link; sooner, phones receive everything twice. Checked once a second: by 15 s
 * the batches have been sent again, and after another 15 s the session is closed.
 */
const RESEND_AFTER_MS = 14_000

/**
 * How long a client has acknowledged nothing of what is unacknowledged: after RESEND_AFTER_MS it is sent again, and
 * after the same time once more the client is given up.
 */
export class AcknowledgmentWait {
  readonly #runtime: Pick<Runtime, 'monotonicNow'>
  /** When the client last made progress (ms, monotonic); sending again does not count as progress. */
  #lastProgressAt: number
  /** Start of the current wait, which leads to sending again and then to the end. */
  #waitingSince: number
  #isResent = false

  constructor(runtime: Pick<Runtime, 'monotonicNow'>) {
    this.#runtime = runtime
    this.#lastProgressAt = runtime.monotonicNow()
    this.#waitingSince = this.#lastProgressAt
  }

  /** ms since the client last made progress; meaningful only while something is unacknowledged. */
  get silentMs(): number {
    return this.#runtime.monotonicNow() - this.#lastProgressAt
  }

  /** Called when a batch is sent while none was unacknowledged. */
  onWindowOpened(): void {
    if (this.#isResent) this.#waitingSince = this.#runtime.monotonicNow()
    else this.#restart()
  }

  /** Called when the client made progress. */
  onAcknowledged(): void {
    this.#isResent = false
    this.#restart()
  }

  /** Restarts the wait: the client is not to blame for what is missing. */
  excuse(): void {
    this.#restart()
  }

  /**
   * Tells whether the wait has lasted too long. Called while something is unacknowledged.
   *
   * @returns `'resend'` when the batches are due to be sent again; `'stalled'` when they were, without effect
   */
  check(): 'ok' | 'resend' | 'stalled' {
    const now = this.#runtime.monotonicNow()
    if (now - this.#waitingSince < RESEND_AFTER_MS) return 'ok'
    if (this.#isResent) return 'stalled'
    this.#isResent = true
    this.#waitingSince = now
    return 'resend'
  }

  #restart(): void {
    this.#lastProgressAt = this.#runtime.monotonicNow()
    this.#waitingSince = this.#lastProgressAt
  }
}
