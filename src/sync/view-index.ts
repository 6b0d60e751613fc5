import { type ScopeKey, scopeKeyOf, type View } from '../core/view.ts'

/**
 * Finds views from the values of a record: collection → field → key → views. The cost of a lookup
 * depends on how many views may show the record, not on how many there are.
 */
export class ViewIndex<Item extends { readonly view: View }> {
  /** Views that every record concerns: nothing is granted by collection. */
  readonly #unscoped = new Set<Item>()
  readonly #byCollection = new Map<string, CollectionIndex<Item>>()

  add(item: Item): void {
    if (item.view.scope === null) this.#unscoped.add(item)
    else for (const place of indexPlaces(item.view.scope)) this.#setAt(place).add(item)
  }

  delete(item: Item): void {
    if (item.view.scope === null) {
      this.#unscoped.delete(item)
      return
    }
    for (const { collection, field, key } of indexPlaces(item.view.scope)) {
      const index = this.#byCollection.get(collection)
      if (index === undefined) continue
      if (field === null) index.unfiltered.delete(item)
      else removeAt(index, field, key, item)
      if (index.unfiltered.size === 0 && index.byField.size === 0) this.#byCollection.delete(collection)
    }
  }

  /**
   * Visits every item whose view may show the record, and some whose does not: only one field was
   * compared. Asked of each operation, for which lists of what was found would be a heap of garbage.
   */
  visitCandidates(collection: string, keyOf: (field: string) => ScopeKey, visit: (item: Item) => void): void {
    this.#unscoped.forEach(visit)
    const index = this.#byCollection.get(collection)
    if (index === undefined) return
    index.unfiltered.forEach(visit)
    for (const field of index.byField.keys()) {
      const key = keyOf(field)
      if (key !== undefined) index.byField.get(field)?.get(key)?.forEach(visit)
    }
  }

  #setAt({ collection, field, key }: IndexPlace): Set<Item> {
    const index = getOrCreate(this.#byCollection, collection, () => ({
      unfiltered: new Set<Item>(),
      byField: new Map<string, Map<string, Set<Item>>>(),
    }))
    if (field === null) return index.unfiltered
    const itemsByKey = getOrCreate(index.byField, field, () => new Map<string, Set<Item>>())
    return getOrCreate(itemsByKey, key, () => new Set<Item>())
  }
}

interface CollectionIndex<Item> {
  readonly unfiltered: Set<Item>
  readonly byField: Map<string, Map<string, Set<Item>>>
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

function removeAt<Item>(index: CollectionIndex<Item>, field: string, key: string, item: Item): void {
  const itemsByKey = index.byField.get(field)
  const items = itemsByKey?.get(key)
  items?.delete(item)
  if (items?.size === 0) itemsByKey?.delete(key)
  if (itemsByKey?.size === 0) index.byField.delete(field)
}

function getOrCreate<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = create()
    map.set(key, value)
  }
  return value
}
