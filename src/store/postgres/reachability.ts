import { Socket } from 'node:net'
import type { Runtime, Timer } from '../../core/runtime.ts'
import { isUnanswered } from './postgres-errors.ts'

/** A statement that waits for longer makes us check whether the database can be reached at all. */
const SUSPICION_MS = 4000
const RETRY_MS = 500

interface Waiting {
  /** ms, monotonic */
  readonly since: number
  readonly reject: (error: unknown) => void
}

/**
 * Notices that no packet comes back from the database, for which TCP itself takes a quarter of an hour. A statement
 * may rightly wait for long, so when one does, another connection is tried. If that is not answered either, every
 * connection is ended, and all waiting and later calls fail at once.
 *
 *   reachable ─▶ (a statement waits) ─▶ a connection is tried ─▶ (no answer) ─▶ unreachable
 *       ▲                                                                        │
 *       └──────────────────────── (a connection succeeds) ◀──────────────────────┘
 */
export class Reachability {
  readonly #runtime: Runtime
  readonly #tryConnection: () => Promise<void>
  readonly #sockets = new Set<Socket>()
  /** The awaited answers, the oldest first. */
  readonly #waiting = new Set<Waiting>()
  #timer: Timer | null = null
  #isReachable = true
  #isClosed = false

  /** @param tryConnection opens a connection and ends it; rejects when there was no answer in time */
  constructor(runtime: Runtime, tryConnection: () => Promise<void>) {
    this.#runtime = runtime
    this.#tryConnection = tryConnection
  }

  /** A socket for a connection, which is destroyed when the database cannot be reached. */
  openSocket(): Socket {
    const socket = new Socket()
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    return socket
  }

  get isReachable(): boolean {
    return this.#isReachable
  }

  /** Awaits an answer of the database. */
  answer<Result>(answer: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const entry = { since: this.#runtime.monotonicNow(), reject }
      this.#waiting.add(entry)
      this.#timer ??= this.#lookIn(SUSPICION_MS)
      answer.then(resolve, reject).finally(() => this.#waiting.delete(entry))
    })
  }

  /** Fails all waiting calls. */
  giveUp(error: Error): void {
    for (const { reject } of this.#waiting) reject(error)
  }

  /** Destroys open sockets; no answer is awaited any more. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    for (const socket of this.#sockets) socket.destroy()
  }

  #lookIn(delayMs: number): Timer {
    return this.#runtime.setTimer(delayMs, () => void this.#look())
  }

  async #look(): Promise<void> {
    const [oldest] = this.#waiting
    const waitedMs = oldest === undefined ? 0 : this.#runtime.monotonicNow() - oldest.since
    if (this.#isReachable && waitedMs < SUSPICION_MS) {
      this.#timer = oldest === undefined ? null : this.#lookIn(SUSPICION_MS - waitedMs)
      return
    }
    const suspects = [...this.#sockets]
    this.#isReachable = await this.#isAnswered()
    if (!this.#isReachable) for (const socket of suspects) socket.destroy()
    this.#timer = this.#isClosed ? null : this.#lookIn(this.#isReachable ? SUSPICION_MS : RETRY_MS)
  }

  async #isAnswered(): Promise<boolean> {
    try {
      await this.#tryConnection()
      return true
    } catch (error) {
      return !isUnanswered(error)
    }
  }
}
