import { StoreError } from '../../core/errors.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import { changeOf, type ScopeChanges } from '../../core/view.ts'

/** A field, or a collection as a whole, that the log is indexed by. */
export interface TrackedField {
  readonly id: number
  readonly collection: string
  /** null: every entry of the collection, under one key */
  readonly field: string | null
  /** Named by the schema or by granted scopes, not by the wish of a client. */
  readonly isGranted: boolean
  /** False while the entries from before it was tracked are still being indexed. */
  readonly isReady: boolean
}

/** Each tracked field costs an index row per operation; clients may cause this many per collection. */
const MAX_CLIENT_FIELDS = 8

/** Collections of which nothing is stored and no schema tells, that clients may name. */
const MAX_CLIENT_COLLECTIONS = 200

/** The index key of entries that are found by their collection alone. */
export const WHOLE_COLLECTION_KEY = ''

// Long values are compared exactly after the row is read; the index need not hold all of them.
const MAX_KEY_LENGTH = 100

/** A scope key as the index holds it. */
export function indexKeyOf(scopeKey: string): string {
  return scopeKey.length <= MAX_KEY_LENGTH ? scopeKey : scopeKey.slice(0, MAX_KEY_LENGTH)
}

/** What the log of one store is indexed by. */
export class TrackedFields {
  readonly #byCollection = new Map<string, Map<string | null, TrackedField>>()
  readonly #fieldNames = new Map<string, readonly string[]>()

  constructor(fields: Iterable<TrackedField> = []) {
    for (const field of fields) this.set(field)
  }

  set(tracked: TrackedField): void {
    let fields = this.#byCollection.get(tracked.collection)
    if (fields === undefined) {
      fields = new Map()
      this.#byCollection.set(tracked.collection, fields)
    }
    fields.set(tracked.field, tracked)
    this.#fieldNames.set(
      tracked.collection,
      [...fields.keys()].filter((field) => field !== null),
    )
  }

  get(collection: string, field: string | null): TrackedField | undefined {
    return this.#byCollection.get(collection)?.get(field)
  }

  /** True when nothing is left to do for a field that is granted. */
  isSettled(collection: string, field: string | null): boolean {
    const tracked = this.get(collection, field)
    return tracked?.isGranted === true && tracked.isReady
  }

  /** The names of the tracked fields: what an operation's scope changes are told of. */
  namesOf(collection: string): readonly string[] {
    return this.#fieldNames.get(collection) ?? []
  }

  of(collection: string): Iterable<TrackedField> {
    return this.#byCollection.get(collection)?.values() ?? []
  }

  /** False when a field that could be read by is gone, or is another one now: fields are added, and stay. */
  hasAllOf(earlier: TrackedFields): boolean {
    return earlier.all().every(({ id, collection, field, isReady }) => {
      const present = this.get(collection, field)
      return present?.id === id && (present.isReady || !isReady)
    })
  }

  all(): TrackedField[] {
    return [...this.#byCollection.values()].flatMap((fields) => [...fields.values()])
  }

  nextId(): number {
    return this.all().reduce((highest, { id }) => Math.max(highest, id), 0) + 1
  }
}

/** What a client asks to be tracked. */
export interface TrackingWish {
  readonly collection: string
  readonly field: string | null
  /** Something is stored of the collection. */
  readonly isKnownCollection: boolean
  readonly schema: SchemaDefinition | null
}

/** What a filter can be met by. The values of others are long, and equal to nothing that a client names. */
const COMPARABLE_KINDS: ReadonlySet<string> = new Set(['string', 'number', 'boolean', 'timestamp', 'enum'])

function isComparable({ fields }: CollectionDefinition, field: string): boolean {
  return Object.hasOwn(fields, field) && COMPARABLE_KINDS.has(fields[field]?.kind ?? '')
}

/** Whether there is room for a wish that only a client has: each costs all of them work and space. */
export function mayTrack(tracked: TrackedFields, wish: TrackingWish): boolean {
  const { collection, field, schema } = wish
  if (schema !== null) {
    const definition = Object.hasOwn(schema.collections, collection)
      ? schema.collections[collection]
      : undefined
    if (definition === undefined && !wish.isKnownCollection) return false
    if (definition !== undefined && field !== null && !isComparable(definition, field)) return false
  } else if (!wish.isKnownCollection) {
    const collections = new Set(tracked.all().map((known) => known.collection))
    if (!collections.has(collection) && collections.size >= MAX_CLIENT_COLLECTIONS) return false
  }
  if (field === null) return true
  const caused = [...tracked.of(collection)].filter((known) => !known.isGranted && known.field !== null)
  return caused.length < MAX_CLIENT_FIELDS
}

/** Where one entry stands in the index: pairs of tracked field id and key. */
export function indexRowsOf(
  entry: { readonly collection: string; readonly scopeChanges: ScopeChanges },
  tracked: Iterable<TrackedField>,
): { id: number; key: string }[] {
  const rows: { id: number; key: string }[] = []
  for (const { id, field } of tracked) {
    if (field === null) rows.push({ id, key: WHOLE_COLLECTION_KEY })
    else {
      const after = changeOf(entry.scopeChanges, field)?.after
      if (after !== undefined) rows.push({ id, key: indexKeyOf(after) })
    }
  }
  return rows
}

/** @throws StoreError when a delivery query asks for something that is no page */
export function checkDeliveryQuery(query: { after: number; limit: number; maxBytes: number }): void {
  if (!(query.after >= 0) || !(query.limit >= 1) || !(query.maxBytes >= 1)) {
    throw new StoreError('INVALID_QUERY', 'A page of the log needs after >= 0, limit >= 1 and maxBytes >= 1.')
  }
}
