import type { ReceivedBatchMessage } from '../../protocol/messages.ts'
import type { SessionIdentity } from '../session-identity.ts'
import { highestOf, lowestOf, MissingNumbers } from './missing-numbers.ts'
import type { PushSession } from './push-session.ts'

const MAX_MISSING_BATCHES = 1000 // far more than a client has on their way at once

/**
 * Notices what is missing of what a polling client sends. Each batch is a request of its own, and one may be lost
 * while those behind it arrive. These are stored, but must not move the client's entry of the version vector: that
 * would tell the client, which has forgotten its queue, not to send again what was lost.
 *
 * After its handshake a client sends its delta, in numbered batches, and then what it writes, one batch at a time. But it takes any
 * acknowledgment, of the delta too, for that of the batch in flight: so several may be on their way, and are forgotten before they
 * have arrived.
 *
 * What is lost shows when the next batch comes:
 * - in the midst of the delta: its index is higher than the one that is due;
 * - at the end of the delta: it is no part of the delta, or another delta begins;
 * - the whole delta: it is the first one, and no part of a delta. Clients with a watermark write `totalBatches` into
 *   every batch of a delta and into no other, but only JSON carries it. Of other clients, and of those that use the
 *   binary form, it shows by the numbers of the operations: none is one that the client owes since its handshake;
 * - among what it writes later: the numbers of its own operations do not go on where those before ended. They may have
 *   gaps of their own, as nothing is sent of what is not in the client's view; so they count where the transport does not
 *   know that every message has come.
 *
 * What is remembered, and for how long:
 *
 * |                    | Begins                                                       | Ends                       |
 * | ------------------ | ------------------------------------------------------------ | -------------------------- |
 * | `hasGap`           | with the first batch that shows that one is missing          | never                      |
 * | an index of        | when it is skipped; with the end of a delta whose length is  | when the batch with it is  |
 * | `#missingIndexes`  | known; when a batch of the delta is refused over a gap       | answered                   |
 * | `#missingNumbers`  | when what follows the delta skips them; when such a batch is | when a batch with them is  |
 * |                    | refused over a gap                                           | answered                   |
 * | `#isOtherMissing`  | when something is missing that has no known index: the whole | never: it does not show    |
 * |                    | delta, the end of one of unknown length, or too many batches | when it has come           |
 *
 * `isOverGap` is asked anew each time that a batch is tried.
 */
export class GapWatch {
  /** Index of the batch that goes on where the last one ended; 0 after a final one. */
  #nextBatchIndex = 0
  #hasDelta = false
  #hasGap = false
  /** As the first batch of the delta said; null where it does not say. */
  #totalBatches: number | null = null
  /** Batches of the delta, by index, that have not been answered where later ones have arrived. */
  readonly #missingIndexes = new Set<number>()
  /**
   * Something else has not arrived. It has no known index, so that nothing shows when it comes. A client that
   * writes its messages otherwise than the known ones is not taken to have such a gap for that alone.
   */
  #isOtherMissing = false
  readonly #missingNumbers = new MissingNumbers()
  /** The highest number of its own that the client was told or has sent. */
  #lastNumber = 0
  /** null before anything has come. */
  #nodeId: string | null = null

  /** Something that the client sent has not arrived in its turn, as far as can be told. */
  get hasGap(): boolean {
    return this.#hasGap
  }

  /** @returns true where the batch shows the first gap */
  look(
    batch: ReceivedBatchMessage,
    identity: SessionIdentity,
    { format, hasAllMessages }: Pick<PushSession, 'format' | 'hasAllMessages'>,
  ): boolean {
    const skipped = this.#followNumbers(batch, identity)
    if (this.#isMissing(batch)) return false // it was only late
    const { batchIndex, isFinal, totalBatches } = batch
    const isRestart = batchIndex === 0 && this.#nextBatchIndex > 0
    const isSkip = batchIndex > this.#nextBatchIndex
    const mayFollowDelta = !this.#hasDelta && totalBatches === undefined
    const isOwedMissing = mayFollowDelta && hasNothingOwed(batch, identity)
    const isDeltaMissing = identity.hasWatermark && format === 'json' ? mayFollowDelta : isOwedMissing
    if (isSkip) this.#miss(this.#nextBatchIndex, batchIndex)
    if (isRestart) this.#missRest(batch)
    this.#isOtherMissing ||= isOwedMissing
    const isSkipping = skipped !== null && !hasAllMessages && this.#hasDelta && !isOfDelta(batch)
    if (isSkipping) this.#missNumbers(...skipped)
    this.#totalBatches ??= totalBatches ?? null
    this.#hasDelta = true
    this.#nextBatchIndex = isFinal ? 0 : Math.max(this.#nextBatchIndex, batchIndex + 1)
    const isFirstGap = !this.#hasGap && (isRestart || isSkip || isDeltaMissing || isSkipping)
    this.#hasGap ||= isFirstGap
    return isFirstGap
  }

  /**
   * True while something before the batch is missing, beyond doubt or nearly so. A batch of the delta builds on
   * those before it, what comes after the delta on all of it and on what has lower numbers.
   */
  isOverGap(batch: ReceivedBatchMessage): boolean {
    if (this.#isOtherMissing) return true
    const isLater = !isOfDelta(batch)
    if (isLater && this.#missingNumbers.hasBelow(lowestOf(this.#numbersOf(batch)))) return true
    const end = isLater ? Number.POSITIVE_INFINITY : batch.batchIndex
    for (const index of this.#missingIndexes) if (index < end) return true
    return false
  }

  /** A batch is answered: if it was missing, it is no more. */
  fill(batch: ReceivedBatchMessage): void {
    if (this.#isMissing(batch)) this.#missingIndexes.delete(batch.batchIndex)
    this.#missingNumbers.remove(this.#numbersOf(batch))
  }

  /** A batch was refused over a gap: it has come, and is still not there for what builds on it. */
  missAgain(batch: ReceivedBatchMessage): void {
    const numbers = this.#numbersOf(batch)
    if (isOfDelta(batch)) this.#miss(batch.batchIndex, batch.batchIndex + 1)
    else if (numbers.length > 0) this.#missNumbers(lowestOf(numbers) - 1, highestOf(numbers) + 1)
  }

  #isMissing(batch: ReceivedBatchMessage): boolean {
    return isOfDelta(batch) && this.#missingIndexes.has(batch.batchIndex)
  }

  /** @returns between which numbers the client has gone on above those before; null where they follow each other */
  #followNumbers(batch: ReceivedBatchMessage, { nodeId, owed }: SessionIdentity): [number, number] | null {
    if (this.#nodeId === null) this.#lastNumber = owed.above
    this.#nodeId = nodeId
    const last = this.#lastNumber
    const next = this.#numbersOf(batch).filter((number) => number > last) // what is sent again is no news
    this.#lastNumber = Math.max(last, highestOf(next))
    const lowest = lowestOf(next)
    return next.length > 0 && lowest > last + 1 ? [last, lowest] : null
  }

  #numbersOf({ operations }: ReceivedBatchMessage): readonly number[] {
    return this.#nodeId === null ? [] : ownNumbers(operations, this.#nodeId)
  }

  #missNumbers(above: number, below: number): void {
    if (!this.#missingNumbers.add(above, below)) this.#isOtherMissing = true
  }

  /** The rest of a delta, if it said how long it is: something else has overtaken it. */
  #missRest({ totalBatches }: ReceivedBatchMessage): void {
    if (totalBatches === undefined && this.#totalBatches !== null) {
      this.#miss(this.#nextBatchIndex, this.#totalBatches)
    } else this.#isOtherMissing = true
  }

  /** Where they are too many to wait for each, it does not show when they have come. */
  #miss(from: number, to: number): void {
    if (this.#missingIndexes.size + to - from > MAX_MISSING_BATCHES) {
      this.#isOtherMissing = true
      return
    }
    for (let index = from; index < to; index++) this.#missingIndexes.add(index)
  }
}

/** What comes after a delta has no other index than 0, and no `totalBatches`. */
export function isOfDelta({ batchIndex, totalBatches }: ReceivedBatchMessage): boolean {
  return batchIndex > 0 || totalBatches !== undefined
}

/**
 * True where the batch brings something of the client's own and nothing of what it owes: what it has written
 * since, or what it sends again although it is stored. Numbers may have gaps of their own: who has left out the
 * next one may have lost nothing, and then sends again once in vain.
 */
function hasNothingOwed({ operations }: ReceivedBatchMessage, { nodeId, owed }: SessionIdentity): boolean {
  const own = ownNumbers(operations, nodeId)
  return own.length > 0 && own.every((number) => number <= owed.above || number > owed.through)
}

function ownNumbers(operations: ReceivedBatchMessage['operations'], nodeId: string): readonly number[] {
  return operations
    .map((received) => (received.ok ? received.operation : received))
    .filter((item) => item.nodeId === nodeId)
    .map(({ sequenceNumber }) => sequenceNumber)
}
