import type { Timer } from '../../core/runtime.ts'
import { protocolError } from '../../protocol/message-reader.ts'
import type { CommitListener } from '../store.ts'
import type { Announcements } from './announcements.ts'
import type { PostgresCore } from './postgres-core.ts'

/**
 * Tells of commits. Other servers announce theirs; whatever becomes of an announcement, the database is
 * asked at an interval, so that a lost one delays and never loses.
 */
export class CommitWatch {
  readonly #core: PostgresCore
  readonly #announcements: Announcements
  readonly #pollIntervalMs: number
  readonly #listeners = new Set<CommitListener>()
  readonly #endListening: () => void
  /** The highest delivery sequence that listeners know of. */
  #known = 0
  #timer: Timer | null = null
  #isPolling = false

  constructor(core: PostgresCore, announcements: Announcements, pollIntervalMs: number) {
    this.#core = core
    this.#announcements = announcements
    this.#pollIntervalMs = pollIntervalMs
    this.#endListening = announcements.subscribe(COMMIT_TOPIC, (payload) =>
      this.#onSequence(parseSequence(payload)),
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

  /** Tells of a commit of this server, the others too. */
  announce(deliverySequence: number, isAlone = false): void {
    this.#onSequence(deliverySequence)
    if (!isAlone) this.#announcements.publishLatest(COMMIT_TOPIC, String(this.#known))
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
    try {
      this.#onSequence(await this.#core.log.readEnd())
    } catch {
      // The database does not answer: asked again at the next interval, and everybody else notices too.
    } finally {
      this.#isPolling = false
    }
  }

  #onSequence(deliverySequence: number): void {
    if (!(deliverySequence > this.#known)) return
    this.#known = deliverySequence
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
