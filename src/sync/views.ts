import { isVisible, scopeKeyOf, type View } from '../core/view.ts'
import type { Frame } from '../protocol/frame.ts'
import type { LogEntry } from '../store/store.ts'

/** Whoever wants to know that its view has new entries. */
export interface ViewReader {
  /** New entries of the view are in the feed. */
  onViewAdvanced(): void
}

/**
 * One view and the sessions that share it: the newest entries that it shows, by reference to the
 * feed's window, and the frames that were made of them.
 */
export class SharedView {
  readonly view: View
  readonly readers = new Set<ViewReader>()
  readonly #window: FeedWindow
  /** Everything visible above this delivery sequence was given to this view. */
  readonly #openedAt: number
  #entries: LogEntry[] = []
  #frames = new Map<string, Frame>()

  constructor(view: View, window: FeedWindow) {
    this.view = view
    this.#window = window
    this.#openedAt = window.head
  }

  /** True when `entriesAfter` can answer for this position; otherwise the store has to. */
  covers(position: number): boolean {
    return position >= this.#openedAt && position >= this.#window.evictedThrough
  }

  /** The visible entries above a covered position, ascending, at most `limit`. */
  entriesAfter(position: number, limit: number): readonly LogEntry[] {
    const start = firstIndexAfter(this.#entries, position)
    return this.#entries.slice(start, start + limit)
  }

  add(entry: LogEntry): void {
    this.#entries.push(entry)
    this.#frames.clear()
  }

  /**
   * The frame under this key, made once for all sessions that are at the same position. Kept until
   * the view advances: by then every session that keeps up has sent it.
   */
  frame(key: string, make: () => Frame): Frame {
    let frame = this.#frames.get(key)
    if (frame === undefined) {
      frame = make()
      if (this.#frames.size < MAX_SHARED_FRAMES) this.#frames.set(key, frame)
    }
    return frame
  }

  /** Lets go of what the feed's window has lost. */
  trim(): void {
    const start = firstIndexAfter(this.#entries, this.#window.evictedThrough)
    if (start === 0) return
    this.#entries = this.#entries.slice(start)
    this.#frames.clear()
  }
}

/** What a view needs to know of the feed. */
export interface FeedWindow {
  readonly head: number
  readonly evictedThrough: number
}

const MAX_SHARED_FRAMES = 32 // sessions at more different positions than this have little to share

/**
 * The views in use, found from an operation's field values: collection → field → key → views. The
 * cost of an operation depends on how many views show it, not on how many there are.
 */
export class Views {
  readonly #window: FeedWindow
  readonly #viewsByKey = new Map<string, SharedView>()
  /** Views that every operation concerns: nothing is granted by collection. */
  readonly #unscoped = new Set<SharedView>()
  readonly #byCollection = new Map<string, CollectionIndex>()

  /** @param window the feed; a view that is opened knows only what comes after its head */
  constructor(window: FeedWindow) {
    this.#window = window
  }

  get size(): number {
    return this.#viewsByKey.size
  }

  /**
   * Joins the view of this key, or opens it. Release it with `release`.
   */
  acquire(view: View, reader: ViewReader): SharedView {
    let shared = this.#viewsByKey.get(view.key)
    if (shared === undefined) {
      shared = new SharedView(view, this.#window)
      this.#viewsByKey.set(view.key, shared)
      this.#index(shared)
    }
    shared.readers.add(reader)
    return shared
  }

  release(shared: SharedView, reader: ViewReader): void {
    shared.readers.delete(reader)
    if (shared.readers.size > 0 || this.#viewsByKey.get(shared.view.key) !== shared) return
    this.#viewsByKey.delete(shared.view.key)
    this.#unindex(shared)
  }

  /** Gives committed entries to the views that show them, then wakes the readers of those views. */
  publish(entries: readonly LogEntry[]): void {
    const advanced = new Set<SharedView>()
    for (const entry of entries) {
      for (const shared of this.#candidates(entry)) {
        if (!isVisible(entry, shared.view)) continue
        shared.add(entry)
        advanced.add(shared)
      }
    }
    for (const shared of advanced) for (const reader of shared.readers) reader.onViewAdvanced()
  }

  /** Lets go of what the feed's window has lost. Called now and then: it visits every view. */
  trim(): void {
    for (const shared of this.#viewsByKey.values()) shared.trim()
  }

  *#candidates(entry: LogEntry): Iterable<SharedView> {
    yield* this.#unscoped
    const index = this.#byCollection.get(entry.collection)
    if (index === undefined) return
    yield* index.unfiltered
    for (const [field, viewsByValue] of index.byField) {
      const change = Object.hasOwn(entry.scopeChanges, field) ? entry.scopeChanges[field] : undefined
      if (change?.after === undefined) continue
      const views = viewsByValue.get(change.after)
      if (views !== undefined) yield* views
    }
  }

  #index(shared: SharedView): void {
    if (shared.view.scope === null) this.#unscoped.add(shared)
    else for (const place of indexPlaces(shared.view.scope)) this.#setAt(place).add(shared)
  }

  #unindex(shared: SharedView): void {
    if (shared.view.scope === null) {
      this.#unscoped.delete(shared)
      return
    }
    for (const { collection, field, key } of indexPlaces(shared.view.scope)) {
      const index = this.#byCollection.get(collection)
      if (index === undefined) continue
      if (field === null) index.unfiltered.delete(shared)
      else {
        const viewsByValue = index.byField.get(field)
        const views = viewsByValue?.get(key)
        views?.delete(shared)
        if (views?.size === 0) viewsByValue?.delete(key)
        if (viewsByValue?.size === 0) index.byField.delete(field)
      }
      if (index.unfiltered.size === 0 && index.byField.size === 0) this.#byCollection.delete(collection)
    }
  }

  #setAt({ collection, field, key }: IndexPlace): Set<SharedView> {
    const index = getOrCreate(this.#byCollection, collection, () => ({
      unfiltered: new Set<SharedView>(),
      byField: new Map<string, Map<string, Set<SharedView>>>(),
    }))
    if (field === null) return index.unfiltered
    const viewsByValue = getOrCreate(index.byField, field, () => new Map<string, Set<SharedView>>())
    return getOrCreate(viewsByValue, key, () => new Set<SharedView>())
  }
}

interface CollectionIndex {
  readonly unfiltered: Set<SharedView>
  readonly byField: Map<string, Map<string, Set<SharedView>>>
}

interface IndexPlace {
  readonly collection: string
  /** null: the filter is empty, every record matches */
  readonly field: string | null
  readonly key: string
}

/** One place per collection: under its filter's first field; the others are checked afterwards. */
function* indexPlaces(scope: NonNullable<View['scope']>): Iterable<IndexPlace> {
  for (const [collection, filter] of Object.entries(scope)) {
    const first = Object.entries(filter)[0]
    if (first === undefined) yield { collection, field: null, key: '' }
    else {
      const key = scopeKeyOf(first[1])
      if (key !== undefined) yield { collection, field: first[0], key }
    }
  }
}

function getOrCreate<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = create()
    map.set(key, value)
  }
  return value
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
