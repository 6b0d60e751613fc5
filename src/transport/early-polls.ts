import { addTo, removeFrom } from '../core/map-of-sets.ts'
import type { Runtime } from '../core/runtime.ts'

/** Of all together: anybody may poll. One takes its request and its connection. */
const MAX_POLLS = 1000
/** Under one id, whose handshake has each of them look again: a client polls one at a time, but for those it gave up. */
const MAX_POLLS_PER_ID = 4

/** Polls under ids that have no session yet: the first poll of a Kora client precedes its handshake. */
export class EarlyPolls {
  readonly #runtime: Runtime
  /** What ends the wait of each. */
  readonly #wakersById = new Map<string, Set<() => void>>()
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
      const timer = this.#runtime.setTimer(ms, wake)
      signal?.addEventListener('abort', wake)
      addTo(this.#wakersById, clientId, wake)
      this.#count++
    })
  }

  /** A session under the id has begun, or its user is known now. */
  wake(clientId: string): void {
    for (const wake of [...(this.#wakersById.get(clientId) ?? [])]) wake()
  }

  stop(): void {
    this.#isStopped = true
    for (const clientId of [...this.#wakersById.keys()]) this.wake(clientId)
  }
}
