import { blobRefsOf } from '../../core/blob-ref.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { RecordKey } from '../append/load.ts'
import { RecordMap } from '../append/record-map.ts'

const MAX_SEEN_RECORDS = 100_000

/**
 * What live records refer to, found by a walk through all references that there ever were. A record has as many as
 * its blobs were replaced, and is read once; again only after very many others.
 */
export class LiveRefs {
  readonly hashes = new Set<string>()
  readonly #deletedThrough: number
  readonly #seen = new RecordMap<true>()
  #seenCount = 0

  /** @param deletedThrough delivery sequence: deleted records of which something was stored later count as live */
  constructor(deletedThrough: number) {
    this.#deletedThrough = deletedThrough
  }

  /** False when the record need not be read for this reference of it: the hash is live, or it was read before. */
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
   * The blobs and manifests that must be there for the record. One that was deleted keeps its own for a while: a
   * late update brings it back with all its fields.
   *
   * @param lastSequence of the record's last row in the log
   */
  add({ values, isDeleted }: RecordState, lastSequence: number): void {
    if (isDeleted && lastSequence <= this.#deletedThrough) return
    for (const hash of blobRefsOf(values)) this.hashes.add(hash)
  }
}
