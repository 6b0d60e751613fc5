import type { Runtime } from '../../core/runtime.ts'

/**
 * Three round trips on a poor mobile link; sooner, phones receive everything twice. It is looked at once a
 * second: after 15 s it has been sent again, and after another 15 the session is closed.
 */
const RESEND_AFTER_MS = 14_000

/**
 * How long a delivery has waited for its client to acknowledge something of what is open: after a time it is
 * sent again, and after as long again given up.
 */
export class AcknowledgmentWait {
  readonly #runtime: Pick<Runtime, 'monotonicNow'>
  /** When the client last made progress (ms, monotonic); sending again is none. */
  #lastProgressAt: number
  /** The wait that leads to sending again, and then to the end, counts from here. */
  #waitingSince: number
  #isResent = false

  constructor(runtime: Pick<Runtime, 'monotonicNow'>) {
    this.#runtime = runtime
    this.#lastProgressAt = runtime.monotonicNow()
    this.#waitingSince = this.#lastProgressAt
  }

  /** ms since the client was last seen to get on; meaningful while something is open. */
  get silentMs(): number {
    return this.#runtime.monotonicNow() - this.#lastProgressAt
  }

  /** Something is sent where nothing was open. */
  onWindowOpened(): void {
    if (this.#isResent) this.#waitingSince = this.#runtime.monotonicNow()
    else this.#restart()
  }

  /** The client has got on. */
  onAcknowledged(): void {
    this.#isResent = false
    this.#restart()
  }

  /** Starts the client's time anew: what is missing is not due to it. */
  excuse(): void {
    this.#restart()
  }

  /**
   * Looks whether it has lasted too long. Asked while something is open.
   *
   * @returns `'resend'` when what is open is due to be sent again; `'stalled'` when it was, and to no end
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
