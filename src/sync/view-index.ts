import { ownValue } from '../core/own-property.ts'
import type { ScopeFilter } from '../core/scope.ts'
import { type ScopeKey, scopeKeyOf, type View } from '../core/view.ts'

/**
 * Most combinations of two and more fields that views of one collection are found by. Clients choose
 * what they ask for, and each combination is compared with each operation. A view of one more is
 * found by fewer of its fields.
 */
export const MAX_FIELD_COMBINATIONS = 16

/** Most collections for which it is kept which unscoped views show them whole. For others all are visited. */
const MAX_SHOWN_COLLECTIONS = 64

/**
 * Finds views from the values of a record: collection → fields → their keys → views. The cost of a
 * lookup depends on how many views show the record, not on how many there are.
 *
 * A view stands under each filter by which it shows records of a collection: that of its scope, or of
 * the scope joined with each subset.
 */
export class ViewIndex<Item extends { readonly view: View }> {
  readonly #entries = new Map<Item, Entry<Item>>()
  readonly #unscoped = new UnscopedEntries<Item>()
  readonly #byCollection = new Map<string, CollectionIndex<Item>>()
  #lookup = 0
  #visit: (item: Item) => void = () => {}

  add(item: Item): void {
    if (this.#entries.has(item)) return
    const entry: Entry<Item> = { item, places: [], lastLookup: 0 }
    this.#entries.set(item, entry)
    if (item.view.scope === null) this.#unscoped.add(entry)
    for (const { collection, wanted } of conditionsOf(item.view)) {
      const index = this.#byCollection.get(collection) ?? new CollectionIndex<Item>()
      this.#byCollection.set(collection, index)
      entry.places.push({ collection, ...index.add(entry, wanted) })
    }
  }

  delete(item: Item): void {
    const entry = this.#entries.get(item)
    if (entry === undefined) return
    this.#entries.delete(item)
    this.#unscoped.delete(entry)
    for (const { collection, ...place } of entry.places) {
      const index = this.#byCollection.get(collection)
      index?.delete(entry, place)
      if (index?.isEmpty) this.#byCollection.delete(collection)
    }
  }

  /**
   * Visits every item whose view may show the record, once, and few whose does not. Asked of each
   * operation, for which lists of what was found would be a heap of garbage. `visit` must not ask again.
   */
  visitCandidates(collection: string, keyOf: KeyOfField, visit: (item: Item) => void): void {
    this.#lookup++
    this.#visit = visit
    this.#unscoped.showing(collection).forEach(this.#meet)
    this.#byCollection.get(collection)?.forEach(keyOf, this.#meet)
  }

  /** A view that several of its subsets find is visited for the first. */
  readonly #meet = (entry: Entry<Item>): void => {
    if (entry.lastLookup === this.#lookup) return
    entry.lastLookup = this.#lookup
    this.#visit(entry.item)
  }
}

type KeyOfField = (field: string) => ScopeKey

interface Entry<Item> {
  readonly item: Item
  /** Where it is, because that depends on what else was there when it came. */
  readonly places: (Place & { readonly collection: string })[]
  lastLookup: number
}

interface Place {
  /** The combination of fields, by its name. */
  readonly combination: string
  /** The keys of these fields, joined. */
  readonly key: string
}

/** The views of one collection, by the fields that they ask for. */
class CollectionIndex<Item> {
  readonly #combinations = new Map<string, Combination<Item>>()
  /** How many have several fields. */
  #joinedCount = 0

  get isEmpty(): boolean {
    return this.#combinations.size === 0
  }

  add(entry: Entry<Item>, wanted: WantedKeys): Place {
    const fields = this.#fieldsFor([...wanted.keys()])
    const name = nameOf(fields)
    let combination = this.#combinations.get(name)
    if (combination === undefined) {
      combination = { fields, entriesByKey: new Map() }
      this.#combinations.set(name, combination)
      if (fields.length > 1) this.#joinedCount++
    }
    const key = joinedKey(fields, (field) => wanted.get(field)) ?? ''
    const entries = combination.entriesByKey.get(key)
    if (entries === undefined) combination.entriesByKey.set(key, new Set([entry]))
    else entries.add(entry)
    return { combination: name, key }
  }

  delete(entry: Entry<Item>, { combination: name, key }: Place): void {
    const combination = this.#combinations.get(name)
    const entries = combination?.entriesByKey.get(key)
    if (combination === undefined || entries === undefined) return
    entries.delete(entry)
    if (entries.size === 0) combination.entriesByKey.delete(key)
    if (combination.entriesByKey.size > 0) return
    this.#combinations.delete(name)
    if (combination.fields.length > 1) this.#joinedCount--
  }

  forEach(keyOf: KeyOfField, meet: (entry: Entry<Item>) => void): void {
    for (const { fields, entriesByKey } of this.#combinations.values()) {
      const key = joinedKey(fields, keyOf)
      if (key !== undefined) entriesByKey.get(key)?.forEach(meet)
    }
  }

  /** As many of the fields, from the first, as there is room for. The first alone always has its place. */
  #fieldsFor(wanted: readonly string[]): readonly string[] {
    let fields = wanted
    while (
      fields.length > 1 &&
      this.#joinedCount >= MAX_FIELD_COMBINATIONS &&
      !this.#combinations.has(nameOf(fields))
    ) {
      fields = fields.slice(0, -1)
    }
    return fields.toSorted()
  }
}

interface Combination<Item> {
  /** Sorted. None: every record of the collection matches. */
  readonly fields: readonly string[]
  readonly entriesByKey: Map<string, Set<Entry<Item>>>
}

function nameOf(fields: readonly string[]): string {
  return JSON.stringify(fields.toSorted())
}

/** Keys are JSON texts: joined by commas they cannot be taken for others. */
function joinedKey(fields: readonly string[], keyOf: KeyOfField): ScopeKey {
  let joined = ''
  for (let index = 0; index < fields.length; index++) {
    const key = keyOf(fields[index] as string) // an index of the list
    if (key === undefined) return undefined
    joined = index === 0 ? key : `${joined},${key}`
  }
  return joined
}

/** Views without a scope, each of which shows the whole of those collections that no subset of it names. */
class UnscopedEntries<Item extends { readonly view: View }> {
  readonly #all = new Set<Entry<Item>>()
  /** Of the collections that were asked for. */
  readonly #byShownCollection = new Map<string, Set<Entry<Item>>>()

  add(entry: Entry<Item>): void {
    this.#all.add(entry)
    const narrowed = new Set(entry.item.view.subsets.map(({ collection }) => collection))
    for (const [collection, entries] of this.#byShownCollection) {
      if (!narrowed.has(collection)) entries.add(entry)
    }
  }

  delete(entry: Entry<Item>): void {
    if (!this.#all.delete(entry)) return
    if (this.#all.size === 0) this.#byShownCollection.clear()
    for (const entries of this.#byShownCollection.values()) entries.delete(entry)
  }

  /** Those that show all of the collection. */
  showing(collection: string): ReadonlySet<Entry<Item>> {
    if (this.#all.size === 0) return this.#all
    return this.#byShownCollection.get(collection) ?? this.#keep(collection)
  }

  #keep(collection: string): ReadonlySet<Entry<Item>> {
    if (this.#byShownCollection.size >= MAX_SHOWN_COLLECTIONS) return this.#all
    const entries = new Set<Entry<Item>>()
    for (const entry of this.#all) {
      if (!entry.item.view.subsets.some((subset) => subset.collection === collection)) entries.add(entry)
    }
    this.#byShownCollection.set(collection, entries)
    return entries
  }
}

type WantedKeys = ReadonlyMap<string, string>

/** A view shows a record where one of its conditions holds. */
interface Condition {
  readonly collection: string
  readonly wanted: WantedKeys
}

/** Of the collections that a view shows in part, and of all in its scope. */
function* conditionsOf({ scope, subsets }: View): Iterable<Condition> {
  const narrowed = new Set<string>()
  for (const { collection, where } of subsets) {
    narrowed.add(collection)
    const granted = scope === null ? {} : ownValue(scope, collection)
    const wanted = granted === undefined ? null : wantedKeys(granted, where)
    if (wanted !== null) yield { collection, wanted }
  }
  for (const [collection, filter] of Object.entries(scope ?? {})) {
    const wanted = narrowed.has(collection) ? null : wantedKeys(filter)
    if (wanted !== null) yield { collection, wanted }
  }
}

/** @returns null when no record can match all the filters */
function wantedKeys(...filters: readonly ScopeFilter[]): WantedKeys | null {
  const wanted = new Map<string, string>()
  for (const filter of filters) {
    for (const [field, value] of Object.entries(filter)) {
      const key = scopeKeyOf(value)
      if (key === undefined || (wanted.get(field) ?? key) !== key) return null
      wanted.set(field, key)
    }
  }
  return wanted
}
