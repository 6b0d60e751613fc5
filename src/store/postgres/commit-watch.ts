import type { Timer } from '../../core/runtime.ts'
import { protocolError } from '../../protocol/message-reader.ts'
import type { CommitListener } from '../store.ts'
import type { Announcements } from './announcements.ts'
import type { PostgresCore } from './postgres-core.ts'

/**
 * Notifies of commits. Other servers announce theirs; whatever happens to an announcement, the database is asked at
 * intervals, so that a lost one only delays. A false announcement, because its commit was lost with the primary, or
 * no server has sent it, is passed on like any other, and does not hide later ones.
 */
export class CommitWatch {
  readonly #core: PostgresCore
  readonly #announcements: Announcements
  readonly #pollIntervalMs: number
  readonly #listeners = new Set<CommitListener>()
  readonly #endListening: () => void
  /** End of the log according to the database and this server's commits. The listeners know of it. */
  #known = 0
  /** Highest commit of this server that is yet to be announced, which covers earlier ones; 0: none. */
  #unannounced = 0
  #timer: Timer | null = null
  #isPolling = false

  constructor(core: PostgresCore, announcements: Announcements, pollIntervalMs: number) {
    this.#core = core
    this.#announcements = announcements
    this.#pollIntervalMs = pollIntervalMs
    this.#endListening = announcements.subscribe(COMMIT_TOPIC, (payload) =>
      this.#onAnnounced(parseSequence(payload)),
    )
  }

  subscribe(listener: CommitListener): () => void {
    this.#listeners.add(listener)
    if (this.#timer === null) this.#schedule()
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#stopPolling()
    }
  }

  /** Notifies of a commit of this server, other servers too. */
  announce(deliverySequence: number, isAlone = false): void {
    if (deliverySequence > this.#known) this.#know(deliverySequence)
    if (isAlone) return
    this.#unannounced = Math.max(this.#unannounced, deliverySequence)
    this.#announcements.publishFrom(COMMIT_TOPIC, this.#takeUnannounced)
  }

  readonly #takeUnannounced = (): string | null => {
    const sequence = this.#unannounced
    this.#unannounced = 0
    return sequence === 0 ? null : String(sequence)
  }

  stop(): void {
    this.#stopPolling()
    this.#listeners.clear()
    this.#endListening()
  }

  #stopPolling(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #schedule(): void {
    this.#timer = this.#core.runtime.setTimer(this.#pollIntervalMs, () => {
      void this.#poll()
      this.#schedule()
    })
  }

  async #poll(): Promise<void> {
    if (this.#isPolling) return
    this.#isPolling = true
    const before = this.#known
    try {
      const end = await this.#core.log.readEnd()
      // A lower end counts too, as when another replica is read now; but not if this server has committed
      // meanwhile.
      if (end > this.#known) this.#know(end)
      else if (this.#known === before) this.#known = end
    } catch {
      // The database does not answer: the next interval tries again, and any other use of it reports that.
    } finally {
      this.#isPolling = false
    }
  }

  #know(end: number): void {
    this.#known = end
    this.#tell(end)
  }

  /** Passed on now, and checked by the next poll. */
  #onAnnounced(deliverySequence: number): void {
    if (deliverySequence > this.#known) this.#tell(deliverySequence)
  }

  #tell(deliverySequence: number): void {
    for (const listener of this.#listeners) listener(deliverySequence)
  }
}

const COMMIT_TOPIC = 'commit'

/** @throws ProtocolError */
function parseSequence(payload: string): number {
  const sequence = /^\d+$/.test(payload) ? Number(payload) : Number.NaN
  if (!Number.isSafeInteger(sequence)) throw protocolError('A commit is announced by a delivery sequence.')
  return sequence
}
