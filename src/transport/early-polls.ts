import { addTo, removeFrom } from '../core/map-of-sets.ts'
import type { Runtime } from '../core/runtime.ts'

/** Waiting polls under all ids together, because anyone may poll. Each takes a request and its connection. */
const MAX_POLLS = 1000
/**
 * Under one id, because a handshake has each of them look again. A client polls one at a time, except for polls
 * that it gave up.
 */
const MAX_POLLS_PER_ID = 4
/** Longer than the minute at which a hidden page polls. */
const TOLD_FOR_MS = 120_000
/** Ids remembered as recently told: they take some 300 bytes each. */
const MAX_TOLD = 10_000

/**
 * Polls under ids that have no session yet. The first poll of a Kora client precedes its handshake; if that does
 * not come in time, there is nothing to say yet. Only a client that polls again, still without a handshake, is told
 * that its session is gone.
 */
export class EarlyPolls {
  readonly #runtime: Runtime
  /** The functions that end each wait. */
  readonly #wakersById = new Map<string, Set<() => void>>()
  /** When an id was told that there is nothing yet (ms, monotonic), the oldest first. */
  readonly #toldAtById = new Map<string, number>()
  #count = 0
  #isStopped = false

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /**
   * @param signal aborted when the answer is no longer awaited
   * @returns a promise that resolves when there may be a session, or the time is over; null where the poll may not
   *   wait
   */
  wait(clientId: string, ms: number, signal: AbortSignal | undefined): Promise<void> | null {
    const ofId = this.#wakersById.get(clientId)?.size ?? 0
    if (this.#isStopped || signal?.aborted === true) return null
    if (this.#count >= MAX_POLLS || ofId >= MAX_POLLS_PER_ID) return null
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel()
        signal?.removeEventListener('abort', wake)
        removeFrom(this.#wakersById, clientId, wake)
        this.#count--
        resolve()
      }
      const timer = this.#runtime.setTimer(ms, wake, { isAwaited: true })
      signal?.addEventListener('abort', wake)
      addTo(this.#wakersById, clientId, wake)
      this.#count++
    })
  }

  /** True where a poll under this id was recently told that there is nothing yet, and no handshake has followed. */
  wasTold(clientId: string): boolean {
    const toldAt = this.#toldAtById.get(clientId)
    return toldAt !== undefined && this.#runtime.monotonicNow() - toldAt < TOLD_FOR_MS
  }

  noteTold(clientId: string): void {
    this.#toldAtById.delete(clientId)
    this.#toldAtById.set(clientId, this.#runtime.monotonicNow())
    for (const oldest of this.#toldAtById.keys()) {
      if (this.#toldAtById.size <= MAX_TOLD) break
      this.#toldAtById.delete(oldest)
    }
  }

  /** Called when the client with this id starts over. */
  forgetTold(clientId: string): void {
    this.#toldAtById.delete(clientId)
  }

  /** Called when a session under this id has begun, or its user has become known. */
  wake(clientId: string): void {
    this.forgetTold(clientId)
    for (const wake of [...(this.#wakersById.get(clientId) ?? [])]) wake()
  }

  stop(): void {
    this.#isStopped = true
    for (const clientId of [...this.#wakersById.keys()]) this.wake(clientId)
  }
}
