import { blobRefsOf } from '../../core/blob-ref.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { RecordKey } from '../append/load.ts'
import { RecordMap } from '../append/record-map.ts'

const MAX_SEEN_RECORDS = 100_000

/**
 * Collects the blobs of live records in a walk through all references there ever were. A record has one for each
 * blob that it ever had, but is read only once, or again after very many others.
 */
export class LiveRefs {
  readonly hashes = new Set<string>()
  readonly #deletedThrough: number
  readonly #seen = new RecordMap<true>()
  #seenCount = 0

  /** @param deletedThrough delivery sequence: a deleted record with an operation stored later still counts as live */
  constructor(deletedThrough: number) {
    this.#deletedThrough = deletedThrough
  }

  /**
   * True when the record has to be read for this reference: false if the hash is known to be live, or the record
   * was read before.
   */
  asksFor(hash: string, record: RecordKey): boolean {
    if (this.hashes.has(hash) || this.#seen.has(record)) return false
    if (this.#seenCount >= MAX_SEEN_RECORDS) {
      this.#seen.clear()
      this.#seenCount = 0
    }
    this.#seen.set(record, true)
    this.#seenCount++
    return true
  }

  /**
   * Adds the blobs and manifests that have to exist for the record. A deleted record keeps its own for a while,
   * because a late update brings it back with all its fields.
   *
   * @param lastSequence of the record's last row in the log
   */
  add({ values, isDeleted }: RecordState, lastSequence: number): void {
    if (isDeleted && lastSequence <= this.#deletedThrough) return
    for (const hash of blobRefsOf(values)) this.hashes.add(hash)
  }
}
