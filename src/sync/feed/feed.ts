import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import { isReplacedLog } from '../../store/backup/restored-base.ts'
import type { LogEntry, ServerStore } from '../../store/store.ts'

export interface FeedOptions {
  readonly runtime: Pick<Runtime, 'defer'>
  /** Bytes kept in memory for readers that are close behind. */
  readonly maxBytes: number
  /** Called with entries as they are committed, in order, without a gap. */
  readonly onEntries: (entries: readonly LogEntry[]) => void
  /** Reading on from the store failed; `retry`, the next commit or announcement tries again. */
  readonly onFailed: (error: unknown) => void
  /**
   * Called when another log follows: a backup was restored in place of the log that was read, or the log lost its
   * end.
   */
  readonly onReplaced: () => void
}

const REFILL_PAGE_ENTRIES = 500

/**
 * Passes committed entries to the views, in order, and decides how far back they may stay in memory: the newest
 * entries, bounded in bytes. The entries themselves are held by the views, so that an entry that no view shows, or
 * that all readers have taken, is freed at once. Readers further behind than the window read the store.
 */
export class Feed {
  readonly #store: Pick<ServerStore, 'readLog'>
  readonly #options: FeedOptions
  /** Delivery sequences of the entries in the window, and of those before `#start`. */
  #sequences: number[] = []
  #sizes: number[] = []
  /** Index of the first entry still in the window: the arrays are shifted only now and then. */
  #start = 0
  #bytes = 0
  #evictedBytes = 0
  #head = 0
  #evictedThrough = 0
  #refilling: Promise<void> | null = null
  #refillAgain = false
  #hasFailed = false
  #isStopped = false

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

  /** Bytes of all that has left the window since the start. */
  get evictedBytes(): number {
    return this.#evictedBytes
  }

  /**
   * Takes the entries of a commit of this process. Where another process committed in between, the gap is read from
   * the store first, so that readers never see a later entry before an earlier one.
   */
  publish(entries: readonly LogEntry[]): void {
    const first = entries[0]
    if (first === undefined) return
    if (this.#refilling === null && first.deliverySequence === this.#head + 1) this.#append(entries)
    else void this.refill()
  }

  /** Stops reading the store, which may then be closed. */
  stop(): void {
    this.#isStopped = true
  }

  /** Reads on from the head to the end of the store's log. Never rejects. */
  refill(): Promise<void> {
    if (this.#isStopped) return Promise.resolve()
    if (this.#refilling !== null) {
      this.#refillAgain = true
      return this.#refilling
    }
    this.#hasFailed = false
    this.#refilling = this.#readToEnd()
      .catch((error: unknown) => {
        if (this.#isStopped) return // the store may be closed by now
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

  /** Reads on, unless readers have already been given everything committed up to here. */
  readTo(deliverySequence: number): void {
    if (deliverySequence > this.#head) void this.refill()
  }

  /** Reads on where reading has failed: committed entries must not wait for the next commit. */
  retry(): void {
    if (this.#hasFailed) void this.refill()
  }

  async #readToEnd(): Promise<void> {
    while (!this.#isStopped) {
      const page = await this.#store.readLog(this.#head, REFILL_PAGE_ENTRIES, this.#options.maxBytes)
      this.#append(page.entries)
      if (page.isLast) {
        this.#skipTo(page.scannedTo)
        return
      }
      // A restored log is long, and a store that answers at once would be read to its end in one turn of the event
      // loop.
      await yieldToEventLoop(this.#options.runtime)
    }
  }

  /** Moves the head where no entries follow. A replaced log that is still empty shows itself only by its end. */
  #skipTo(end: number): void {
    if (!isReplacedLog(this.#head, end)) return
    this.#head = end
    this.#options.onReplaced()
  }

  #append(entries: readonly LogEntry[]): void {
    const last = entries[entries.length - 1]
    if (last === undefined) return
    const isReplaced = isReplacedLog(this.#head, entries[0]?.deliverySequence ?? 0)
    for (const entry of entries) {
      const bytes = sizeOf(entry)
      this.#sequences.push(entry.deliverySequence)
      this.#sizes.push(bytes)
      this.#bytes += bytes
    }
    this.#head = last.deliverySequence
    this.#evict()
    this.#options.onEntries(entries)
    if (isReplaced) this.#options.onReplaced()
  }

  #evict(): void {
    while (this.#bytes > this.#options.maxBytes) {
      const oldest = this.#sequences[this.#start]
      const bytes = this.#sizes[this.#start]
      if (oldest === undefined || bytes === undefined) break
      this.#bytes -= bytes
      this.#evictedBytes += bytes
      this.#evictedThrough = oldest
      this.#start++
    }
    if (this.#start > 1024 && this.#start * 2 > this.#sequences.length) {
      this.#sequences = this.#sequences.slice(this.#start)
      this.#sizes = this.#sizes.slice(this.#start)
      this.#start = 0
    }
  }
}

/** Includes the tracked scope fields: a small change of a record carries all of their values, however long they are. */
function sizeOf({ wireJson, scopeChanges }: LogEntry): number {
  let bytes = wireJson.length
  for (const { after, before } of scopeChanges) bytes += (after?.length ?? 0) + (before?.key?.length ?? 0)
  return bytes
}
