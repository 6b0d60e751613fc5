import type { DeliveredEntry, DeliveryPage, LogEntry } from '../store.ts'

/**
 * A page looks at this many rows at most, visible or not. To read and parse them takes 10 ms of the event loop, or
 * some 40 ms of a database.
 */
export const MAX_ROWS_PER_PAGE = 4000

/** Entries that are counted of each key that leads to what is sought, to find the rarest. */
export const RARITY_SAMPLE = 500

/** Fills a page up to its limits and knows how far it has come. */
export class PageCollector<Entry extends DeliveredEntry = LogEntry> {
  readonly #entries: Entry[] = []
  readonly #limit: number
  readonly #maxBytes: number
  #bytes = 0
  #scannedTo: number
  #isFull = false

  constructor({ after, limit, maxBytes }: { after: number; limit: number; maxBytes: number }) {
    this.#scannedTo = after
    this.#limit = limit
    this.#maxBytes = maxBytes
  }

  /** True when nothing more fits: everything up to `scannedTo` is dealt with. */
  get isFull(): boolean {
    return this.#isFull
  }

  get length(): number {
    return this.#entries.length
  }

  /** How many more entries may come. */
  get room(): number {
    return this.#limit - this.#entries.length
  }

  get scannedTo(): number {
    return this.#scannedTo
  }

  /** Takes of the next entries those that are accepted, until it is full. */
  take(entries: readonly Entry[], accepts: (entry: Entry) => boolean): void {
    for (const entry of entries) {
      if (accepts(entry)) this.#add(entry)
      if (this.#isFull) return
      this.skipTo(entry.deliverySequence)
    }
  }

  /** Notes that nothing visible is left up to here. */
  skipTo(deliverySequence: number): void {
    if (!this.#isFull) this.#scannedTo = Math.max(this.#scannedTo, deliverySequence)
  }

  /** @param end the end of the log at the time of reading */
  toPage(end: number): DeliveryPage<Entry> {
    return { entries: this.#entries, scannedTo: this.#scannedTo, isLast: this.#scannedTo >= end }
  }

  /** Takes the next entry that is visible. An entry that is too large makes a page of its own. */
  #add(entry: Entry): void {
    if (this.#entries.length > 0 && this.#bytes + entry.wireJson.length > this.#maxBytes) {
      this.#isFull = true
      return
    }
    this.#entries.push(entry)
    this.#bytes += entry.wireJson.length
    this.#scannedTo = entry.deliverySequence
    this.#isFull = this.#entries.length >= this.#limit || this.#bytes >= this.#maxBytes
  }
}
