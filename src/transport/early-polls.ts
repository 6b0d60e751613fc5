import { addTo, removeFrom } from '../core/map-of-sets.ts'
import type { Runtime } from '../core/runtime.ts'

/** Polls of all ids together: anybody may poll. One takes its request and its connection. */
const MAX_POLLS = 1000
/** Under one id, whose handshake has each of them look again: a client polls one at a time, but for those it gave up. */
const MAX_POLLS_PER_ID = 4
/** A page that is hidden asks once a minute. */
const TOLD_FOR_MS = 120_000
/** Ids that were told lately: they take some 300 bytes each. */
const MAX_TOLD = 10_000

/**
 * Polls under ids that have no session yet. The first poll of a Kora client precedes its handshake, and where that does
 * not come in time there is nothing to say yet. Only to one that asks again, and sends none still, the session is gone.
 */
export class EarlyPolls {
  readonly #runtime: Runtime
  /** What ends the wait of each. */
  readonly #wakersById = new Map<string, Set<() => void>>()
  /** When an id was told that there is nothing yet (ms, monotonic), the oldest first. */
  readonly #toldAtById = new Map<string, number>()
  #count = 0
  #isStopped = false

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /**
   * @param signal aborted when nobody waits for the answer any more
   * @returns resolves when there may be a session, or the time is over; null where it may not wait
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

  /** True where a poll of the id was told lately that there is nothing yet, and no handshake has followed. */
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

  /** The client of the id begins anew. */
  forgetTold(clientId: string): void {
    this.#toldAtById.delete(clientId)
  }

  /** A session under the id has begun, or its user is known now. */
  wake(clientId: string): void {
    this.forgetTold(clientId)
    for (const wake of [...(this.#wakersById.get(clientId) ?? [])]) wake()
  }

  stop(): void {
    this.#isStopped = true
    for (const clientId of [...this.#wakersById.keys()]) this.wake(clientId)
  }
}
