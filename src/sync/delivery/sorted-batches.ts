import { decodeDeltaCursor } from '../../protocol/delta-cursor.ts'
import type { DeliveredEntry } from '../../store/store.ts'
import { batchLength, MAX_BATCH_BYTES } from './batch-cut.ts'
import {
  cursorAt,
  type DeltaBatch,
  type DeltaBatches,
  type DeltaOptions,
  type DeltaRun,
  toldThrough,
} from './delta-batch.ts'
import { sortEntries } from './sort-entries.ts'

/**
 * A delta in the order that these clients expect. The cursor of an earlier delta is not used to skip anything, because
 * operations stored since may sort before it: what the client read then is covered by its vector, or is a duplicate to
 * it. Only the delivery sequences are kept; the entries are read again, batch by batch.
 */
export class SortedBatches implements DeltaBatches {
  readonly #options: DeltaOptions
  readonly #run: DeltaRun
  /** Delivery sequences, batch by batch. */
  readonly #batches: readonly (readonly number[])[]
  readonly #positions: readonly number[]
  readonly #told: Pick<DeltaBatch, 'toldThrough'>
  #index = 0

  /** @param entries all that the client lacks */
  constructor(entries: readonly DeliveredEntry[], options: DeltaOptions, run: DeltaRun) {
    const { sorted, isByNumber } = sortEntries(entries)
    this.#options = options
    this.#run = run
    this.#batches = sorted.length === 0 ? [[]] : cut(sorted, options)
    this.#positions = positionsAfter(this.#batches, run.end)
    this.#told = toldThrough(isByNumber ? undefined : sorted[0], options)
  }

  async next(): Promise<DeltaBatch | null> {
    const index = this.#index++
    const sequences = this.#batches[index]
    if (sequences === undefined) return null
    const entries = sequences.length === 0 ? [] : await this.#read(sequences)
    if (entries === null) return null
    return {
      entries,
      isFinal: index === this.#batches.length - 1,
      batchIndex: sequences.length === 0 ? this.#cursorIndex : index,
      totalBatches: this.#batches.length,
      ...cursorAt(entries, index),
      position: this.#positions[index] ?? this.#run.end,
      ...(index === 0 && this.#told),
    }
  }

  async #read(sequences: readonly number[]): Promise<readonly DeliveredEntry[] | null> {
    const { store, view, pageTurns } = this.#options
    await pageTurns.next()
    return this.#run.isStopped() ? null : store.readEntries(sequences, view.view)
  }

  /** The index of a batch without entries: that of the earlier delta, which the client has read to its end. */
  get #cursorIndex(): number {
    const { deltaCursor } = this.#options
    return (deltaCursor === undefined ? null : decodeDeltaCursor(deltaCursor))?.batchIndex ?? 0
  }
}

/** @returns the delivery sequences of each batch */
function cut(entries: readonly DeliveredEntry[], { batchSize, view }: DeltaOptions): number[][] {
  const batches: number[][] = []
  for (let start = 0; start < entries.length; ) {
    const next = entries.slice(start, start + fittingLength(entries, start, batchSize))
    const batch = next.slice(0, batchLength(next, view.view))
    batches.push(batch.map(({ deliverySequence }) => deliverySequence))
    start += batch.length
  }
  return batches
}

/** Counts the entries from `start` that fit into one batch, by number and bytes; at least one, however large. */
function fittingLength(entries: readonly DeliveredEntry[], start: number, batchSize: number): number {
  let length = 0
  for (let bytes = 0; length < batchSize && start + length < entries.length; length++) {
    bytes += entries[start + length]?.wireJson.length ?? 0
    if (bytes > MAX_BATCH_BYTES && length > 0) break
  }
  return length
}

/** The position that each batch reaches: everything below the lowest entry that is yet to come has been sent. */
function positionsAfter(batches: readonly (readonly number[])[], end: number): readonly number[] {
  const positions: number[] = []
  let position = end
  for (const batch of batches.toReversed()) {
    positions.unshift(position)
    for (const sequence of batch) position = Math.min(position, sequence - 1)
  }
  return positions
}
