import type { ReceivedBatchMessage } from '../../protocol/messages.ts'
import type { SessionIdentity } from '../session-identity.ts'
import { highestOf, lowestOf, MissingNumbers } from './missing-numbers.ts'
import type { PushSession } from './push-session.ts'

const MAX_MISSING_BATCHES = 1000 // far more than a client has on their way at once

/**
 * Notices batches of a polling client that are missing. Each batch is a request of its own, and one may be lost
 * while later ones arrive. The later ones are stored, but must not move the client's entry of the version vector:
 * the client has forgotten its queue, and would conclude that it need not send the lost one again.
 *
 * After its handshake a client sends its delta, in numbered batches, and then what it writes, one batch at a time.
 * But it takes any acknowledgment, even one of the delta, for that of the batch in flight. So several batches may
 * be on their way, and are forgotten before they have arrived.
 *
 * A loss shows when the next batch comes:
 * - in the middle of the delta: its index is higher than expected;
 * - at the end of the delta: it is not part of the delta, or another delta begins;
 * - the whole delta: it is the first batch, and not part of a delta. Clients with a watermark write `totalBatches`
 *   into every batch of a delta and into no other, but only JSON carries it. With other clients, and with the
 *   binary form, the numbers of the operations tell: none of them is one that the client has owed since its
 *   handshake;
 * - after the delta: the numbers of the client's own operations do not continue where the last ones ended. They may
 *   have gaps of their own, because operations outside the client's view are not sent; so they count only where the
 *   transport cannot tell that every message has come.
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
 * `isOverGap` is evaluated again each time that a batch is tried.
 */
export class GapWatch {
  /** Index of the batch that goes on where the last one ended; 0 after a final one. */
  #nextBatchIndex = 0
  #hasDelta = false
  #hasGap = false
  /** From the first batch of the delta; null where it does not say. */
  #totalBatches: number | null = null
  /** Indexes of delta batches that have not been answered although later ones have arrived. */
  readonly #missingIndexes = new Set<number>()
  /**
   * Something is missing that has no known index, so that nothing shows when it arrives. This is never concluded
   * merely from the form of a client's messages, which may differ from the known ones.
   */
  #isOtherMissing = false
  readonly #missingNumbers = new MissingNumbers()
  /** The highest of its own numbers that the client was told or has sent. */
  #lastNumber = 0
  /** null before anything has come. */
  #nodeId: string | null = null

  /** True once something from the client has not arrived in its turn, as far as can be told. */
  get hasGap(): boolean {
    return this.#hasGap
  }

  /** @returns true where this batch shows the first gap */
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
   * True while something before the batch is missing, for certain or almost so. A batch of the delta builds on the
   * batches before it; a later batch builds on the whole delta and on operations with lower numbers.
   */
  isOverGap(batch: ReceivedBatchMessage): boolean {
    if (this.#isOtherMissing) return true
    const isLater = !isOfDelta(batch)
    if (isLater && this.#missingNumbers.hasBelow(lowestOf(this.#numbersOf(batch)))) return true
    const end = isLater ? Number.POSITIVE_INFINITY : batch.batchIndex
    for (const index of this.#missingIndexes) if (index < end) return true
    return false
  }

  /** Called when a batch is answered: if it was missing, it no longer is. */
  fill(batch: ReceivedBatchMessage): void {
    if (this.#isMissing(batch)) this.#missingIndexes.delete(batch.batchIndex)
    this.#missingNumbers.remove(this.#numbersOf(batch))
  }

  /** Called when a batch was refused over a gap: it has come, but batches that build on it still lack it. */
  missAgain(batch: ReceivedBatchMessage): void {
    const numbers = this.#numbersOf(batch)
    if (isOfDelta(batch)) this.#miss(batch.batchIndex, batch.batchIndex + 1)
    else if (numbers.length > 0) this.#missNumbers(lowestOf(numbers) - 1, highestOf(numbers) + 1)
  }

  #isMissing(batch: ReceivedBatchMessage): boolean {
    return isOfDelta(batch) && this.#missingIndexes.has(batch.batchIndex)
  }

  /** @returns the two numbers between which the batch leaves a gap; null where it continues the numbers before */
  #followNumbers(batch: ReceivedBatchMessage, { nodeId, owed }: SessionIdentity): [number, number] | null {
    if (this.#nodeId === null) this.#lastNumber = owed.above
    this.#nodeId = nodeId
    const last = this.#lastNumber
    const next = this.#numbersOf(batch).filter((number) => number > last) // operations that are sent again tell nothing
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

  /** Notes the rest of an unfinished delta as missing, by index where its length is known. */
  #missRest({ totalBatches }: ReceivedBatchMessage): void {
    if (totalBatches === undefined && this.#totalBatches !== null) {
      this.#miss(this.#nextBatchIndex, this.#totalBatches)
    } else this.#isOtherMissing = true
  }

  /** Notes batches as missing. If there are too many to track, their arrival can no longer be noticed. */
  #miss(from: number, to: number): void {
    if (this.#missingIndexes.size + to - from > MAX_MISSING_BATCHES) {
      this.#isOtherMissing = true
      return
    }
    for (let index = from; index < to; index++) this.#missingIndexes.add(index)
  }
}

/** True for a batch of the delta. After a delta, batches have index 0 and no `totalBatches`. */
export function isOfDelta({ batchIndex, totalBatches }: ReceivedBatchMessage): boolean {
  return batchIndex > 0 || totalBatches !== undefined
}

/**
 * True where the batch brings operations of the client itself, but none that it owes: only newer ones, or ones that
 * are stored already. Numbers may have gaps of their own, so a client that left out the next one may have lost
 * nothing; it then sends once more in vain.
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
