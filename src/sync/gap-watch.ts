import type { ReceivedBatchMessage, WireFormat } from '../protocol/messages.ts'
import type { SessionIdentity } from './session.ts'

const MAX_MISSING_BATCHES = 1000 // far more than a client has on their way at once

/**
 * A request that is lost leaves a gap in what a polling client sends at once. What follows is stored, but moves
 * the version vector no more: over the gap, it would tell the client, which has forgotten its queue, not to send
 * again what was lost.
 *
 * A delta that was lost whole shows by its `totalBatches`, which clients with a watermark write into every batch
 * of a delta and into no other, and which only JSON carries. Elsewhere it shows where what comes first begins with
 * something else than what the client said at the handshake that it has to send, or than what it writes next.
 */
export class GapWatch {
  /** Of the batch that goes on where the last one ended; 0 after a final one. */
  #nextBatchIndex = 0
  #hasDelta = false
  #hasGap = false
  /** Batches of the delta, by index, that have not arrived where later ones have. */
  readonly #missingIndexes = new Set<number>()
  /**
   * Something else has not: what it was does not show, so neither does that it arrives. A client that writes its
   * messages otherwise than the known ones shows no such gap for that alone.
   */
  #isOtherMissing = false

  /** Something that the client sent has not arrived in its turn, as far as can be told. */
  get hasGap(): boolean {
    return this.#hasGap
  }

  /** @returns true where the batch shows the first gap */
  look(batch: ReceivedBatchMessage, identity: SessionIdentity, format: WireFormat): boolean {
    if (this.#isMissing(batch)) return false // it was only late
    const { batchIndex, isFinal, totalBatches } = batch
    const isRestart = batchIndex === 0 && this.#nextBatchIndex > 0
    const isSkip = batchIndex > this.#nextBatchIndex
    const mayFollowDelta = !this.#hasDelta && totalBatches === undefined
    const isOwedMissing = mayFollowDelta && hasNothingOwed(batch, identity)
    const isDeltaMissing = identity.isModern && format === 'json' ? mayFollowDelta : isOwedMissing
    if (isSkip && !this.#missIndexes(this.#nextBatchIndex, batchIndex)) this.#isOtherMissing = true
    this.#isOtherMissing ||= isRestart || isOwedMissing
    this.#hasDelta = true
    this.#nextBatchIndex = isFinal ? 0 : Math.max(this.#nextBatchIndex, batchIndex + 1)
    const isFirstGap = !this.#hasGap && (isRestart || isSkip || isDeltaMissing)
    this.#hasGap ||= isFirstGap
    return isFirstGap
  }

  /** Something before the batch is missing, beyond doubt or nearly so. */
  isOverGap(batch: ReceivedBatchMessage): boolean {
    return this.#isOtherMissing || this.#missingIndexes.size > (this.#isMissing(batch) ? 1 : 0)
  }

  /** A batch is stored: if it was missing, it is no more. */
  fill(batch: ReceivedBatchMessage): void {
    if (this.#isMissing(batch)) this.#missingIndexes.delete(batch.batchIndex)
  }

  /** What comes after a delta has no other index than 0, and no `totalBatches`. */
  #isMissing({ batchIndex, totalBatches }: ReceivedBatchMessage): boolean {
    return (batchIndex > 0 || totalBatches !== undefined) && this.#missingIndexes.has(batchIndex)
  }

  /** @returns false where they are too many to wait for each */
  #missIndexes(from: number, to: number): boolean {
    if (this.#missingIndexes.size + to - from > MAX_MISSING_BATCHES) return false
    for (let index = from; index < to; index++) this.#missingIndexes.add(index)
    return true
  }
}

/**
 * True where the batch brings something of the client's own and nothing of what it owes: what it has written
 * since, or what it sends again although it is stored. Numbers may have gaps of their own: who has left out the
 * next one may have lost nothing, and then sends again once in vain.
 */
function hasNothingOwed({ operations }: ReceivedBatchMessage, { nodeId, owed }: SessionIdentity): boolean {
  const own = operations
    .map((received) => (received.ok ? received.operation : received))
    .filter((item) => item.nodeId === nodeId)
  return (
    own.length > 0 &&
    own.every(({ sequenceNumber }) => sequenceNumber <= owed.above || sequenceNumber > owed.through)
  )
}
