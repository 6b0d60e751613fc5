import { changeOf, isVisible, type ScopeKey, type View } from '../../core/view.ts'
import type { LogEntry } from '../../store/store.ts'
import { type CatchUpBudget, CatchUpFrames } from './catch-up-frames.ts'
import { FrameBudget, SharedFrames } from './shared-frames.ts'
import { ViewIndex } from './view-index.ts'

/** A session that is told when its view has new entries. */
export interface ViewReader {
  /** Up to this delivery sequence it has taken what its view shows, or is reading it from the store. */
  readonly takenThrough: number
  /** New entries of the view are in the feed. */
  onViewAdvanced(): void
}

/**
 * Bytes that have left the feed's window may stay with the views up to this amount, or the size of the window if
 * that is less: freeing them visits every view, of which there may be thousands, and must not be part of each
 * commit.
 */
const MAX_TRIM_AFTER_BYTES = 4 * 1024 * 1024

/**
 * One view and the sessions that share it: the newest entries that it shows, as far back as the feed's
 * window, and the frames that were made of them.
 */
export class SharedView {
  readonly view: View
  readonly readers = new Set<ViewReader>()
  /**
   * Frames that sessions at the same position share. Kept until the view advances: by then every session that keeps
   * up has been sent them.
   */
  readonly frames: SharedFrames
  readonly catchUpFrames: CatchUpFrames
  readonly #window: FeedWindow
  /** Above this delivery sequence the view holds every entry that it shows. */
  #completeAbove: number
  #entries: LogEntry[] = []

  /** @param completeAbove above this delivery sequence, the feed passes it every visible entry */
  constructor(view: View, window: FeedWindow, { catchUp, frames, completeAbove }: SharedViewOptions) {
    this.view = view
    this.#window = window
    this.frames = new SharedFrames(frames)
    this.catchUpFrames = new CatchUpFrames(catchUp)
    this.#completeAbove = completeAbove
  }

  /** True when there is another session to share frames with. */
  get isShared(): boolean {
    return this.readers.size > 1
  }

  /** From here on `entriesAfter` can answer; up to here the store has to. */
  get completeAbove(): number {
    return this.#completeAbove
  }

  /** True when `entriesAfter` can answer for this position; otherwise the store has to. */
  covers(position: number): boolean {
    return position >= this.#completeAbove
  }

  /**
   * The visible entries above a covered position, ascending: at most `limit`, and of at most
   * `maxBytes` of wire JSON unless a single one is larger.
   */
  entriesAfter(position: number, limit: number, maxBytes: number): ViewPage {
    const start = firstIndexAfter(this.#entries, position)
    let end = start
    for (let bytes = 0; end < this.#entries.length && end - start < limit; end++) {
      bytes += this.#entries[end]?.wireJson.length ?? 0
      if (bytes > maxBytes && end > start) break
    }
    return { entries: this.#entries.slice(start, end), isAll: end === this.#entries.length }
  }

  /** How many visible entries above this position are in the window. */
  countAfter(position: number): number {
    return this.#entries.length - firstIndexAfter(this.#entries, position)
  }

  add(entry: LogEntry): void {
    this.#entries.push(entry)
    this.frames.clear()
  }

  /**
   * Frees the entries that all readers have taken. Kept for clients that might come back, they would be copied by
   * one garbage collection after another; such a client reads the store instead.
   */
  trimTaken(): void {
    let takenThrough = Number.POSITIVE_INFINITY
    for (const reader of this.readers) {
      // A reader that is further behind has to read the store anyway.
      if (this.covers(reader.takenThrough)) takenThrough = Math.min(takenThrough, reader.takenThrough)
    }
    this.#trimThrough(takenThrough)
  }

  /** Frees the entries that have left the feed's window. */
  trim(): void {
    const { evictedThrough } = this.#window
    const hasTrimmed = this.#trimThrough(evictedThrough)
    // Entries that all readers have taken are freed earlier: then nothing is left but the frames.
    const hasOnlyFrames = this.#entries.length === 0 && evictedThrough >= this.#completeAbove
    if (hasTrimmed || hasOnlyFrames) this.frames.clear()
  }

  /** @returns whether there was anything to free */
  #trimThrough(end: number): boolean {
    const start = firstIndexAfter(this.#entries, end)
    const last = this.#entries[start - 1]
    if (last === undefined) return false
    this.#completeAbove = Math.max(this.#completeAbove, last.deliverySequence)
    // In place: an old array that is dropped instead keeps all that it points to alive until the old heap is collected.
    this.#entries.splice(0, start)
    return true
  }
}

export interface ViewPage {
  readonly entries: readonly LogEntry[]
  /** True when the view shows nothing after this page. */
  readonly isAll: boolean
}

/** Budgets for the frames of all views together. */
interface FrameBudgets {
  readonly catchUp: CatchUpBudget
  readonly frames: FrameBudget
}

interface SharedViewOptions extends FrameBudgets {
  readonly completeAbove: number
}

/** What a view needs to know of the feed. */
export interface FeedWindow {
  readonly head: number
  readonly evictedThrough: number
  /** Bytes of all that the window has lost so far. */
  readonly evictedBytes: number
}

/**
 * The views in use, found from an operation's field values. The cost of an operation depends on how
 * many views show it, not on how many there are.
 */
export class Views {
  readonly #window: FeedWindow
  readonly #viewsByKey = new Map<string, SharedView>()
  readonly #index = new ViewIndex<SharedView>()
  readonly #budgets: FrameBudgets = { catchUp: { bytes: 0 }, frames: new FrameBudget() }
  readonly #trimAfterBytes: number
  /** The feed's `evictedBytes` at the last trim. */
  #trimmedAtBytes = 0
  #untoldThrough = 0

  /**
   * @param window the feed; a new view holds only what comes after its head and after `noteUntold`
   * @param maxFeedBytes of the window; at most as much beyond it stays with the views
   */
  constructor(window: FeedWindow, maxFeedBytes: number) {
    this.#window = window
    this.#trimAfterBytes = Math.min(MAX_TRIM_AFTER_BYTES, maxFeedBytes)
  }

  get size(): number {
    return this.#viewsByKey.size
  }

  /** Bytes that the frames kept for sessions which keep up take. */
  get frameBytes(): number {
    return this.#budgets.frames.bytes
  }

  /** Notes that entries up to here may not carry the values of the fields that the next view filters by. */
  noteUntold(end: number): void {
    this.#untoldThrough = Math.max(this.#untoldThrough, end)
  }

  /**
   * Joins the view of this key, or opens it. Release it with `release`.
   */
  acquire(view: View, reader: ViewReader): SharedView {
    let shared = this.#viewsByKey.get(view.key)
    if (shared === undefined) {
      const completeAbove = Math.max(this.#window.head, this.#untoldThrough)
      shared = new SharedView(view, this.#window, { ...this.#budgets, completeAbove })
      this.#viewsByKey.set(view.key, shared)
      this.#index.add(shared)
    }
    shared.readers.add(reader)
    return shared
  }

  release(shared: SharedView, reader: ViewReader): void {
    shared.readers.delete(reader)
    if (!shared.isShared) shared.frames.clear()
    if (shared.readers.size > 0 || this.#viewsByKey.get(shared.view.key) !== shared) return
    this.#viewsByKey.delete(shared.view.key)
    this.#index.delete(shared)
  }

  /** Gives committed entries to the views that show them, then wakes the readers of those views. */
  publish(entries: readonly LogEntry[]): void {
    const advanced = new Set<SharedView>()
    let entry: LogEntry // declared here so that the functions below are made once, and not for each entry
    const keyOf = (field: string): ScopeKey => changeOf(entry.scopeChanges, field)?.after
    const give = (shared: SharedView): void => {
      if (!isVisible(entry, shared.view)) return
      shared.add(entry)
      advanced.add(shared)
    }
    for (entry of entries) this.#index.visitCandidates(entry.collection, keyOf, give)
    for (const shared of advanced) {
      for (const reader of shared.readers) reader.onViewAdvanced()
      shared.trimTaken()
    }
    if (this.#window.evictedBytes - this.#trimmedAtBytes >= this.#trimAfterBytes) this.trim()
  }

  /** Frees what has left the feed's window. Called only now and then, because it visits every view. */
  trim(): void {
    this.#trimmedAtBytes = this.#window.evictedBytes
    for (const shared of this.#viewsByKey.values()) shared.trim()
  }
}

/** Index of the first entry above `position`: binary search, the entries ascend. */
function firstIndexAfter(entries: readonly LogEntry[], position: number): number {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const entry = entries[middle]
    if (entry !== undefined && entry.deliverySequence <= position) low = middle + 1
    else high = middle
  }
  return low
}
