import { settlesWithin } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { SessionState } from '../session-state.ts'
import { ClosePace } from './close-pace.ts'

/** Clients do not push blobs again, nor the application its writes: after an abort or a long wait they still have this long. */
const GRACE_MS = 1000

/** A session that can be closed once it is answered. */
export interface ClosableSession {
  readonly state: SessionState
  readonly isAccepted: boolean
  /** Takes nothing more from the client. */
  stopReading(): void
  /** Resolves when what the session has submitted is stored and answered. */
  settled(): Promise<void>
  close(code: 'SERVER_STOPPING'): void
}

export interface ClosingOptions {
  /** Longest time over which connections are closed, in ms. */
  readonly spreadMs: number
  /** Longest time that is waited for what a session has begun, in ms. */
  readonly timeoutMs: number
}

/**
 * The end of all sessions of a hub. What they have begun is waited for, with a bound: some of it is up to code of the
 * application, which may never be done.
 */
export class Closing {
  readonly #runtime: Runtime
  /** By session that is waited for: aborted when it has ended, so that the wait ends too. */
  readonly #endings = new Map<ClosableSession, AbortController>()
  readonly #abort = new AbortController()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /**
   * Closes each session when it is answered, in turn. Who has ended before is not waited for.
   *
   * @returns how many were closed although they were not answered in time
   */
  async closeAll(
    sessions: readonly ClosableSession[],
    { spreadMs, timeoutMs }: ClosingOptions,
  ): Promise<{ readonly cut: number }> {
    const pace = new ClosePace({ runtime: this.#runtime, connections: sessions.length, spreadMs })
    let cut = 0
    const close = async (session: ClosableSession, index: number): Promise<void> => {
      const ended = this.#endOf(session)
      await pace.begins(index, ended)
      if (ended.aborted) return
      session.stopReading()
      const isAnswered = await this.#isAnswered(session, { timeoutMs, ended })
      if (ended.aborted) return
      if (!isAnswered) cut++
      await pace.turn(ended)
      session.close('SERVER_STOPPING')
    }
    await Promise.all(sessions.map(close))
    this.#endings.clear()
    return { cut }
  }

  /**
   * Waits for work that does not end with the sessions. Never rejects.
   *
   * @param endsAt ms, monotonic: when `stop()` is to be done; where that is soon, the work has its grace all the same
   * @returns false when it was not done in time
   */
  async drain(
    work: Promise<unknown>,
    { timeoutMs, endsAt }: Pick<ClosingOptions, 'timeoutMs'> & { readonly endsAt: number },
  ): Promise<boolean> {
    const runtime = this.#runtime
    const { signal } = this.#abort
    const beganAt = runtime.monotonicNow()
    const waitMs = Math.min(timeoutMs, Math.max(endsAt - beganAt, GRACE_MS))
    const isDone = await settlesWithin(work, { runtime, timeoutMs: waitMs, signal })
    if (isDone || !signal.aborted) return isDone
    const leftMs = Math.max(0, beganAt + waitMs - runtime.monotonicNow())
    return settlesWithin(work, { runtime, timeoutMs: Math.min(GRACE_MS, leftMs) })
  }

  onSessionClosed(session: ClosableSession): void {
    this.#endings.get(session)?.abort()
  }

  onAborted(): void {
    this.#abort.abort()
  }

  /** Aborts when the session has ended. */
  #endOf(session: ClosableSession): AbortSignal {
    const ending = this.#endings.get(session) ?? new AbortController()
    if (session.state === 'closed') ending.abort()
    this.#endings.set(session, ending)
    return ending.signal
  }

  /**
   * True when all that the session has begun is answered in time. With a handshake nothing is lost: its
   * client comes back, and need not be let in before.
   */
  async #isAnswered(
    session: ClosableSession,
    { timeoutMs, ended }: Pick<ClosingOptions, 'timeoutMs'> & { readonly ended: AbortSignal },
  ): Promise<boolean> {
    if (!session.isAccepted) return true
    return settlesWithin(session.settled(), { runtime: this.#runtime, timeoutMs, signal: ended })
  }
}
