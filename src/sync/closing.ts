import type { Runtime } from '../core/runtime.ts'
import { ClosePace } from './close-pace.ts'
import type { Session } from './session.ts'

/** Clients do not push again what has arrived of blobs: after an abort, too, it has this long to be stored. */
const ABORT_GRACE_MS = 1000

export interface ClosingOptions {
  /** Longest time over which connections are closed, in ms. */
  readonly spreadMs: number
  /** Longest time that is waited for what a session has begun, and then for what was pushed of blobs, in ms. */
  readonly timeoutMs: number
}

/**
 * The end of all sessions of a hub. What they have begun is waited for, with a bound: some of it is up to code of the
 * application, which may never be done.
 */
export class Closing {
  readonly #runtime: Runtime
  /** Of the sessions that are waited for: let the wait end. */
  readonly #releases = new Map<Session, () => void>()
  #isAborted = false
  #onAborted: () => void = () => {}

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /**
   * Closes each session when it is answered, in turn. Who has ended before is not waited for.
   *
   * @returns how many were closed although they were not answered in time
   */
  async closeAll(
    sessions: readonly Session[],
    { spreadMs, timeoutMs }: ClosingOptions,
  ): Promise<{ readonly cut: number }> {
    const pace = new ClosePace({ runtime: this.#runtime, connections: sessions.length, spreadMs })
    let cut = 0
    const close = async (session: Session, index: number): Promise<void> => {
      await pace.begins(index)
      if (isClosed(session)) return
      session.stopReading()
      const isAnswered = await this.#isAnswered(session, timeoutMs)
      if (isClosed(session)) return
      if (!isAnswered) cut++
      await pace.turn()
      session.close('SERVER_STOPPING')
    }
    await Promise.all(
      sessions.map((session, index) => Promise.race([this.#hasEnded(session), close(session, index)])),
    )
    this.#releases.clear()
    return { cut }
  }

  /** Waits for what does not end with the sessions. Never rejects. */
  async drain(work: Promise<unknown>, { timeoutMs }: Pick<ClosingOptions, 'timeoutMs'>): Promise<void> {
    const aborted = this.#isAborted
      ? Promise.resolve()
      : new Promise<void>((resolve) => {
          this.#onAborted = resolve
        })
    const graceOver = aborted.then(() => settlesWithin(work, ABORT_GRACE_MS, this.#runtime))
    await Promise.race([settlesWithin(work, timeoutMs, this.#runtime), graceOver])
  }

  onSessionClosed(session: Session): void {
    this.#releases.get(session)?.()
  }

  onAborted(): void {
    this.#isAborted = true
    this.#onAborted()
  }

  #hasEnded(session: Session): Promise<void> {
    return new Promise((resolve) => void this.#releases.set(session, resolve))
  }

  /** Of a handshake nothing is lost: its client comes back, and need not be let in before. */
  async #isAnswered(session: Session, timeoutMs: number): Promise<boolean> {
    return !session.isAccepted || settlesWithin(session.settled(), timeoutMs, this.#runtime)
  }
}

/** Asked anew each time: what was awaited may have closed it. */
function isClosed(session: Session): boolean {
  return session.state === 'closed'
}

/** @returns false when the time was up first */
function settlesWithin(work: Promise<unknown>, timeoutMs: number, runtime: Runtime): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = runtime.setTimer(timeoutMs, () => resolve(false))
    const settle = (): void => {
      timer.cancel()
      resolve(true)
    }
    work.then(settle, settle)
  })
}
