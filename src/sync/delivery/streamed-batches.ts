import type { DeliveredEntry, DeliveryPage } from '../../store/store.ts'
import { batchLength, endOf, MAX_BATCH_BYTES } from './batch-cut.ts'
import {
  cursorAt,
  type DeltaBatch,
  type DeltaBatches,
  type DeltaOptions,
  type DeltaRun,
  toldThrough,
} from './delta-batch.ts'

/**
 * A delta that is too large to sort, in commit order, which puts causes first wherever they were pushed first. Each
 * batch is read only when there is room for it, so their number is unknown and they carry no `totalBatches`.
 */
export class StreamedBatches implements DeltaBatches {
  readonly #options: DeltaOptions
  readonly #run: DeltaRun
  /** Everything up to this delivery sequence was returned. */
  #after = 0
  #batchIndex = 0
  #isOver = false

  constructor(options: DeltaOptions, run: DeltaRun) {
    this.#options = options
    this.#run = run
  }

  async next(): Promise<DeltaBatch | null> {
    const { pageTurns, view } = this.#options
    while (!this.#isOver) {
      await pageTurns.next()
      if (this.#run.isStopped()) return null // where nothing is visible, the delivery is not asked before the end of the log
      const page = await readStreamed(this.#options, this.#after)
      const entries = page.entries.slice(0, batchLength(page.entries, view.view))
      const isCut = entries.length < page.entries.length
      this.#after = isCut ? endOf(entries) : page.scannedTo
      this.#isOver = page.isLast && !isCut
      if (entries.length > 0 || this.#isOver) return this.#batchOf(entries)
    }
    return null
  }

  #batchOf(entries: readonly DeliveredEntry[]): DeltaBatch {
    const batchIndex = this.#batchIndex++
    return {
      entries,
      isFinal: this.#isOver,
      batchIndex,
      ...cursorAt(entries, batchIndex),
      position: this.#isOver ? this.#run.end : this.#after,
      ...(batchIndex === 0 && toldThrough(entries[0], this.#options)),
    }
  }
}

/** Reads what the vector lacks up to the position, and everything above it, where the vector may hide a gap. */
async function readStreamed(
  { store, vector, view, batchSize, legacyPosition }: DeltaOptions,
  after: number,
): Promise<DeliveryPage<DeliveredEntry>> {
  const query = { after, view: view.view, limit: batchSize, maxBytes: MAX_BATCH_BYTES }
  if (legacyPosition !== 0 && after >= legacyPosition) return store.readDelivery(query)
  const page = await store.readMissing(vector, query)
  if (legacyPosition === 0 || page.scannedTo <= legacyPosition) return page
  const entries = page.entries.filter((entry) => entry.deliverySequence <= legacyPosition)
  return { entries, scannedTo: legacyPosition, isLast: false }
}
