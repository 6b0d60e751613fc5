import { settlesWithin } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { SessionState } from '../session-state.ts'
import { ClosePace } from './close-pace.ts'

/**
 * Clients do not push blobs again, nor the application its writes: even after an abort or a long wait they get this
 * long.
 */
const GRACE_MS = 1000

/** A session that can be closed once its client has been answered. */
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
  /** How long to wait for the work of one session, in ms. */
  readonly timeoutMs: number
}

/**
 * Ends all sessions of a hub. Their work is awaited, but only for a limited time: some of it runs application code,
 * which may never finish.
 */
export class Closing {
  readonly #runtime: Runtime
  /** By awaited session: aborted when the session has ended, to end the wait. */
  readonly #endings = new Map<ClosableSession, AbortController>()
  readonly #abort = new AbortController()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /**
   * Closes each session in turn once it is answered. Sessions that have already ended are not awaited.
   *
   * @returns how many were closed before they were answered
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
   * @param endsAt ms, monotonic: when `stop()` should be done; the work gets GRACE_MS even if that is sooner
   * @returns false when the work was not done in time
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
   * True when all work of the session is answered in time. A session still in its handshake counts as answered:
   * nothing is lost, since its client comes back.
   */
  async #isAnswered(
    session: ClosableSession,
    { timeoutMs, ended }: Pick<ClosingOptions, 'timeoutMs'> & { readonly ended: AbortSignal },
  ): Promise<boolean> {
    if (!session.isAccepted) return true
    return settlesWithin(session.settled(), { runtime: this.#runtime, timeoutMs, signal: ended })
  }
}
