import type { AcknowledgmentMessage } from '../../protocol/messages.ts'

/** Unacknowledged bytes beyond which a delivery waits for its client. */
export const WINDOW_BYTES = 1024 * 1024
/** And batches beyond which the stream does. */
const WINDOW_BATCHES = 64

interface BatchInFlight {
  readonly base: number
  readonly max: number
  readonly bytes: number
}

/**
 * The batches of a delivery stream that are sent and not acknowledged, in order: a bounded window.
 *
 * @see docs/protocol.md, "Delivery stream"
 */
export class BatchesInFlight {
  #batches: BatchInFlight[] = []
  #bytes = 0

  get isEmpty(): boolean {
    return this.#batches.length === 0
  }

  get isFull(): boolean {
    return this.#bytes >= WINDOW_BYTES || this.#batches.length >= WINDOW_BATCHES
  }

  /** Roughly how many more batches of the present size fit, at least 1. */
  get room(): number {
    const count = this.#batches.length
    if (count === 0) return WINDOW_BATCHES
    const bytesEach = this.#bytes / count
    const fitting = Math.floor((WINDOW_BYTES - this.#bytes) / bytesEach)
    return Math.max(1, Math.min(fitting, WINDOW_BATCHES - count))
  }

  add(batch: BatchInFlight): void {
    this.#batches.push(batch)
    this.#bytes += batch.bytes
  }

  /** Forgets the batches that end at `acknowledged` or below. */
  drop(acknowledged: number): void {
    let count = 0
    for (const batch of this.#batches) {
      if (batch.max > acknowledged) break
      this.#bytes -= batch.bytes
      count++
    }
    if (count > 0) this.#batches.splice(0, count)
  }

  /** Forgets all batches. @returns where they ended */
  clear(): number[] {
    const ends = this.#batches.map(({ max }) => max)
    this.#batches = []
    this.#bytes = 0
    return ends
  }

  /** True when the client says that it has applied one of these batches. What it says may concern its last session. */
  isApplied({ acknowledgedMessageId, deliverySequence }: AcknowledgmentMessage): boolean {
    return this.#batches.some(
      ({ base, max }) => max === deliverySequence && batchId(base, max) === acknowledgedMessageId,
    )
  }

  /**
   * True when the client has taken one of these batches for a repetition although it has only a part of it: it has
   * advanced since its handshake, by what its last session was sent. It will ignore the batches that follow, too.
   */
  isIgnored({ acknowledgedMessageId, deliverySequence }: AcknowledgmentMessage): boolean {
    if (deliverySequence === undefined) return false
    return this.#batches.some(
      ({ base, max }) =>
        base < deliverySequence && deliverySequence < max && batchId(base, max) === acknowledgedMessageId,
    )
  }
}

/** The id of the message that carries a batch: the same for all sessions that share its frame. */
export function batchId(base: number, max: number): string {
  return `d-${base}-${max}`
}
