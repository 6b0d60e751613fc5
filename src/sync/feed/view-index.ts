import { addTo, removeFrom } from '../../core/map-of-sets.ts'
import { ownValue } from '../../core/own-property.ts'
import type { ScopeFilter } from '../../core/scope.ts'
import { type ScopeKey, scopeKeyOf, type View } from '../../core/view.ts'

/**
 * Most combinations of two or more fields that the wishes of clients may add to the index of one collection: each
 * is compared with each operation. Beyond this, a view is found by fewer of its fields. Combinations that scopes
 * grant are not counted, because the operator chooses them and no client may displace them.
 */
export const MAX_FIELD_COMBINATIONS = 16

/**
 * Finds views from the values of a record: collection → fields → their keys → views. The cost of a lookup depends
 * on how many views show the record, not on how many there are.
 *
 * A view is entered under each filter by which it shows records of a collection: that of its scope, or the scope
 * joined with each subset.
 */
export class ViewIndex<Item extends { readonly view: View }> {
  readonly #entries = new Map<Item, Entry<Item>>()
  readonly #unscoped = new UnscopedEntries<Item>()
  readonly #byCollection = new Map<string, CollectionIndex<Item>>()
  #lookup = 0
  #visit: (item: Item) => void = ignore

  add(item: Item): void {
    if (this.#entries.has(item)) return
    const entry: Entry<Item> = { item, places: [], lastLookup: 0 }
    this.#entries.set(item, entry)
    if (item.view.scope === null) this.#unscoped.add(entry)
    for (const condition of conditionsOf(item.view)) {
      const { collection } = condition
      const index = this.#byCollection.get(collection) ?? new CollectionIndex<Item>()
      this.#byCollection.set(collection, index)
      entry.places.push(index.add(entry, condition))
    }
  }

  delete(item: Item): void {
    const entry = this.#entries.get(item)
    if (entry === undefined) return
    this.#entries.delete(item)
    this.#unscoped.delete(entry)
    for (const place of entry.places) {
      const index = this.#byCollection.get(place.collection)
      index?.delete(place)
      if (index?.isEmpty) this.#byCollection.delete(place.collection)
    }
  }

  /**
   * Visits every item whose view may show the record, once, and few others. Runs for each operation, so it makes no
   * list of what it finds, which would be garbage at once. `visit` must not start another lookup.
   */
  visitCandidates(collection: string, keyOf: KeyOfField, visit: (item: Item) => void): void {
    this.#lookup++
    this.#visit = visit
    this.#unscoped.forEach(collection, this.#meet)
    this.#byCollection.get(collection)?.forEach(keyOf, this.#meet)
    this.#visit = ignore // drop what `visit` holds of this record: the next lookup may be long in coming
  }

  /** Visits a view once, even if several of its subsets match. */
  readonly #meet = (entry: Entry<Item>): void => {
    if (entry.lastLookup === this.#lookup) return
    entry.lastLookup = this.#lookup
    this.#visit(entry.item)
  }
}

type KeyOfField = (field: string) => ScopeKey

function ignore(): void {}

interface Entry<Item> {
  readonly item: Item
  readonly places: Place<Item>[]
  lastLookup: number
}

/** Where one condition of an entry stands in the index of a collection. */
interface Place<Item> {
  readonly collection: string
  readonly entry: Entry<Item>
  /** At least this many of the wanted fields, counted from the first, are always part of the lookup. */
  readonly leastFields: number
  combination: Combination<Item>
  /** The keys of the combination's fields, joined. */
  key: string
  /** The name of the combination of all its fields, while there is no room for that one. */
  crowdedOutOf: string | null
}

/** The views of one collection, by the fields that they filter by. */
class CollectionIndex<Item> {
  readonly #combinations = new Map<string, Combination<Item>>()
  /** How many combinations exist only because clients asked for them. */
  #askedCount = 0
  /** Places by the name of the combination that there is no room for. */
  readonly #crowdedOut = new Map<string, Map<Place<Item>, WantedKeys>>()

  get isEmpty(): boolean {
    return this.#combinations.size === 0
  }

  add(entry: Entry<Item>, { collection, wanted, grantedFields }: Condition): Place<Item> {
    const all = [...wanted.keys()]
    const leastFields = Math.max(grantedFields, Math.min(1, all.length))
    let fields = all
    while (fields.length > leastFields && !this.#hasRoomFor(nameOf(fields))) fields = fields.slice(0, -1)
    const crowdedOutOf = fields === all ? null : nameOf(all)
    const { combination, key } = this.#spotFor(fields, wanted)
    const place: Place<Item> = { collection, entry, leastFields, combination, key, crowdedOutOf }
    this.#enter(place)
    if (crowdedOutOf !== null) this.#crowdOut(crowdedOutOf, place, wanted)
    else if (this.#crowdedOut.size > 0) this.#letIn(nameOf(all)) // what clients only asked for may be granted now
    this.#fillRoom()
    return place
  }

  delete(place: Place<Item>): void {
    this.#leave(place)
    if (place.crowdedOutOf !== null) {
      const waiting = this.#crowdedOut.get(place.crowdedOutOf)
      waiting?.delete(place)
      if (waiting?.size === 0) this.#crowdedOut.delete(place.crowdedOutOf)
    }
    this.#fillRoom()
  }

  forEach(keyOf: KeyOfField, meet: (entry: Entry<Item>) => void): void {
    for (const { fields, placesByKey } of this.#combinations.values()) {
      const key = joinedKey(fields, keyOf)
      if (key === undefined) continue
      const places = placesByKey.get(key)
      if (places !== undefined) for (const { entry } of places) meet(entry)
    }
  }

  #hasRoomFor(name: string): boolean {
    return this.#combinations.has(name) || this.#askedCount < MAX_FIELD_COMBINATIONS
  }

  #spotFor(wantedFields: readonly string[], wanted: WantedKeys): Pick<Place<Item>, 'combination' | 'key'> {
    const fields = wantedFields.toSorted()
    const name = nameOf(fields)
    const combination = this.#combinations.get(name) ?? { name, fields, placesByKey: new Map(), settled: 0 }
    return { combination, key: joinedKey(fields, (field) => wanted.get(field)) ?? '' }
  }

  #enter(place: Place<Item>): void {
    const { combination, key } = place
    const { name, placesByKey } = combination
    if (!this.#combinations.has(name)) {
      this.#combinations.set(name, combination)
      this.#askedCount++
    }
    if (isSettled(place) && combination.settled++ === 0) this.#askedCount--
    addTo(placesByKey, key, place)
  }

  #leave(place: Place<Item>): void {
    const { combination, key } = place
    const { name, placesByKey } = combination
    removeFrom(placesByKey, key, place)
    if (isSettled(place) && --combination.settled === 0) this.#askedCount++
    if (placesByKey.size > 0) return
    this.#combinations.delete(name)
    this.#askedCount--
  }

  // ── those for whose fields there is no room ────────────────────────────────────────────────

  #crowdOut(name: string, place: Place<Item>, wanted: WantedKeys): void {
    const waiting = this.#crowdedOut.get(name)
    if (waiting === undefined) this.#crowdedOut.set(name, new Map([[place, wanted]]))
    else waiting.set(place, wanted)
  }

  /** Lets in, while there is room, the combination of fields that most of those crowded out wait for. */
  #fillRoom(): void {
    while (this.#crowdedOut.size > 0 && this.#askedCount < MAX_FIELD_COMBINATIONS) {
      let name = ''
      let most = 0
      for (const [candidate, { size }] of this.#crowdedOut) {
        if (size <= most) continue
        name = candidate
        most = size
      }
      this.#letIn(name)
    }
  }

  /** Moves all places that wait for this combination into it. */
  #letIn(name: string): void {
    const waiting = this.#crowdedOut.get(name)
    if (waiting === undefined) return
    this.#crowdedOut.delete(name)
    for (const [place, wanted] of waiting) {
      this.#leave(place)
      Object.assign(place, this.#spotFor([...wanted.keys()], wanted), { crowdedOutOf: null })
      this.#enter(place)
    }
  }
}

/** True where the place alone keeps its combination from being counted. */
function isSettled<Item>({ combination, leastFields }: Place<Item>): boolean {
  return combination.fields.length <= Math.max(1, leastFields)
}

interface Combination<Item> {
  readonly name: string
  /** Sorted. None: every record of the collection matches. */
  readonly fields: readonly string[]
  readonly placesByKey: Map<string, Set<Place<Item>>>
  /** How many of its places do not depend on client wishes: while there is one, the combination is not counted. */
  settled: number
}

function nameOf(fields: readonly string[]): string {
  return JSON.stringify(fields.toSorted())
}

/** Joins keys by commas. They are JSON texts, so the result is unambiguous. */
function joinedKey(fields: readonly string[], keyOf: KeyOfField): ScopeKey {
  let joined = ''
  for (let index = 0; index < fields.length; index++) {
    const key = keyOf(fields[index] as string) // an index of the list
    if (key === undefined) return undefined
    joined = index === 0 ? key : `${joined},${key}`
  }
  return joined
}

const MAX_KNOWN_COLLECTIONS = 1000

/** Views without a scope, each of which shows the whole of those collections that no subset of it names. */
class UnscopedEntries<Item extends { readonly view: View }> {
  /** Groups by the collections that the subsets name, as JSON: each client may name others, but most name the same. */
  readonly #groups = new Map<string, UnscopedGroup<Item>>()
  /** By collection, the groups that show all of it: computed on demand, and again once the groups change. */
  readonly #showing = new Map<string, readonly UnscopedGroup<Item>[]>()

  add(entry: Entry<Item>): void {
    const narrowed = narrowedBy(entry.item.view)
    const name = JSON.stringify(narrowed)
    const group = this.#groups.get(name)
    if (group !== undefined) {
      group.entries.add(entry)
      return
    }
    this.#groups.set(name, { narrowed: new Set(narrowed), entries: new Set([entry]) })
    this.#showing.clear()
  }

  delete(entry: Entry<Item>): void {
    if (this.#groups.size === 0) return
    const name = JSON.stringify(narrowedBy(entry.item.view))
    const group = this.#groups.get(name)
    group?.entries.delete(entry)
    if (group?.entries.size !== 0) return
    this.#groups.delete(name)
    this.#showing.clear()
  }

  /** Calls `meet` with each entry that shows all of the collection. */
  forEach(collection: string, meet: (entry: Entry<Item>) => void): void {
    for (const { entries } of this.#groupsShowing(collection)) entries.forEach(meet)
  }

  #groupsShowing(collection: string): readonly UnscopedGroup<Item>[] {
    const known = this.#showing.get(collection)
    if (known !== undefined) return known
    const groups = [...this.#groups.values()].filter(({ narrowed }) => !narrowed.has(collection))
    // Without a schema clients may name as many collections as they like.
    if (this.#showing.size >= MAX_KNOWN_COLLECTIONS) this.#showing.clear()
    this.#showing.set(collection, groups)
    return groups
  }
}

interface UnscopedGroup<Item> {
  readonly narrowed: ReadonlySet<string>
  readonly entries: Set<Entry<Item>>
}

function narrowedBy({ subsets }: View): readonly string[] {
  return [...new Set(subsets.map(({ collection }) => collection))].sort()
}

type WantedKeys = ReadonlyMap<string, string>

/** A filter of a view on a collection. The view shows a record where one of its conditions holds. */
interface Condition {
  readonly collection: string
  /** The keys to match, by field, those of the scope first. */
  readonly wanted: WantedKeys
  /** How many of the wanted fields are those of the scope. */
  readonly grantedFields: number
}

/**
 * The conditions of a view: one for each subset, joined with the scope, and one for each other collection of the
 * scope.
 */
function* conditionsOf({ scope, subsets }: View): Iterable<Condition> {
  const narrowed = new Set<string>()
  for (const { collection, where } of subsets) {
    narrowed.add(collection)
    const granted = scope === null ? {} : ownValue(scope, collection)
    const wanted = granted === undefined ? null : wantedKeys(granted, where)
    if (wanted !== null) yield { collection, wanted, grantedFields: Object.keys(granted ?? {}).length }
  }
  for (const [collection, filter] of Object.entries(scope ?? {})) {
    const wanted = narrowed.has(collection) ? null : wantedKeys(filter)
    if (wanted !== null) yield { collection, wanted, grantedFields: wanted.size }
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
