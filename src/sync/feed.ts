import { isReplacedLog } from '../store/backup/restored-base.ts'
import type { LogEntry, ServerStore } from '../store/store.ts'

export interface FeedOptions {
  /** Bytes of wire JSON kept in memory for readers that are close behind. */
  readonly maxBytes: number
  /** Called with entries as they are committed, in order, without a gap. */
  readonly onEntries: (entries: readonly LogEntry[]) => void
  /** Reading on from the store failed; `retry`, the next commit or announcement tries again. */
  readonly onFailed: (error: unknown) => void
  /** What follows is another log: a backup was restored in the place of the one that was read. */
  readonly onReplaced: () => void
}

const REFILL_PAGE_ENTRIES = 500

/**
 * The newest committed entries, in memory, bounded in bytes. Readers further behind than the
 * window read the store.
 */
export class Feed {
  readonly #store: Pick<ServerStore, 'readLog'>
  readonly #options: FeedOptions
  #entries: LogEntry[] = []
  /** Index of the first entry still in the window: evicting shifts the array only now and then. */
  #start = 0
  #bytes = 0
  #head = 0
  #evictedThrough = 0
  #refilling: Promise<void> | null = null
  #refillAgain = false
  #hasFailed = false

  constructor(store: Pick<ServerStore, 'readLog'>, options: FeedOptions) {
    this.#store = store
    this.#options = options
  }

  /** @param head the store's highest delivery sequence now; the window starts empty above it */
  start(head: number): void {
    this.#head = head
    this.#evictedThrough = head
  }

  /** The highest delivery sequence that readers have been told of. */
  get head(): number {
    return this.#head
  }

  /** Entries above this delivery sequence are in the window. */
  get evictedThrough(): number {
    return this.#evictedThrough
  }

  get bytes(): number {
    return this.#bytes
  }

  /**
   * Takes what a commit of this process stored. Where another process committed in between, the
   * gap is read from the store first, so that readers never see a later entry before an earlier one.
   */
  publish(entries: readonly LogEntry[]): void {
    const first = entries[0]
    if (first === undefined) return
    if (this.#refilling === null && first.deliverySequence === this.#head + 1) this.#append(entries)
    else void this.refill()
  }

  /** Reads on from the head to the end of the store's log. Never rejects. */
  refill(): Promise<void> {
    if (this.#refilling !== null) {
      this.#refillAgain = true
      return this.#refilling
    }
    this.#hasFailed = false
    this.#refilling = this.#readToEnd()
      .catch((error: unknown) => {
        this.#hasFailed = true
        this.#options.onFailed(error)
      })
      .finally(() => {
        this.#refilling = null
        if (!this.#refillAgain) return
        this.#refillAgain = false
        void this.refill()
      })
    return this.#refilling
  }

  /** Reads on where reading has failed: what is committed must not wait for the next commit. */
  retry(): void {
    if (this.#hasFailed) void this.refill()
  }

  async #readToEnd(): Promise<void> {
    for (;;) {
      const page = await this.#store.readLog(this.#head, REFILL_PAGE_ENTRIES, this.#options.maxBytes)
      this.#append(page.entries)
      if (page.isLast) return
    }
  }

  #append(entries: readonly LogEntry[]): void {
    const last = entries[entries.length - 1]
    if (last === undefined) return
    const isReplaced = isReplacedLog(this.#head, entries[0]?.deliverySequence ?? 0)
    for (const entry of entries) {
      this.#entries.push(entry)
      this.#bytes += entry.wireJson.length
    }
    this.#head = last.deliverySequence
    this.#evict()
    this.#options.onEntries(entries)
    if (isReplaced) this.#options.onReplaced()
  }

  #evict(): void {
    while (this.#bytes > this.#options.maxBytes) {
      const oldest = this.#entries[this.#start]
      if (oldest === undefined) break
      this.#bytes -= oldest.wireJson.length
      this.#evictedThrough = oldest.deliverySequence
      this.#start++
    }
    if (this.#start > 1024 && this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start)
      this.#start = 0
    }
  }
}
