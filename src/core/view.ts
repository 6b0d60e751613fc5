import { canonicalJson } from './canonical-json.ts'
import { jsonOfText } from './json-text.ts'
import type { FieldValues, JsonValue } from './operation.ts'
import type { QuerySubset, ScopeFilter, ScopeMap } from './scope.ts'
import { matchesScope, matchesFilter as matchesValues } from './scope.ts'

/** Kept in this module, so that only it makes views. */
let makeView: (scope: ScopeMap | null, subsets: readonly QuerySubset[], key: string) => View

/**
 * What one client may see and wants to see: the granted scope, narrowed by its query subsets. Sessions with equal
 * views share one. A view is a verdict: an object of the same shape does not pass for one.
 *
 * @see docs/access.md
 */
export class View {
  /** Canonical text of scope and subsets: equal for equal views. */
  readonly key: string
  readonly subsets: readonly QuerySubset[]
  readonly #scope: ScopeMap | null
  /** The keys that the scope asks for, by collection; kept as keys because every entry is compared with them. */
  readonly #scopeKeys: ReadonlyMap<string, readonly WantedKey[]>
  readonly #subsetKeys: readonly { readonly collection: string; readonly wanted: readonly WantedKey[] }[]

  static {
    makeView = (scope, subsets, key) => new View(scope, subsets, key)
  }

  private constructor(scope: ScopeMap | null, subsets: readonly QuerySubset[], key: string) {
    this.#scope = scope
    this.subsets = subsets
    this.key = key
    this.#scopeKeys = new Map(Object.entries(scope ?? {}).map(([name, filter]) => [name, wantedKeys(filter)]))
    this.#subsetKeys = subsets.map(({ collection, where }) => ({ collection, wanted: wantedKeys(where) }))
  }

  /** null: everything is granted */
  get scope(): ScopeMap | null {
    return this.#scope
  }

  /** True when the view shows some records and not others, so that the values of a record matter. */
  get isSelective(): boolean {
    return this.#scope !== null || this.subsets.length > 0
  }

  /** True when the view shows a record with the values that `keyOf` takes from the entry's changes. */
  matches({ collection, scopeChanges }: Visibility, keyOf: KeyOf): boolean {
    if (this.#scope !== null) {
      const wanted = this.#scopeKeys.get(collection)
      if (wanted === undefined || !hasKeys(scopeChanges, wanted, keyOf)) return false
    }
    let hasSubset = false
    for (const subset of this.#subsetKeys) {
      if (subset.collection !== collection) continue
      if (hasKeys(scopeChanges, subset.wanted, keyOf)) return true
      hasSubset = true
    }
    return !hasSubset
  }
}

/** A field and the key that it must have; undefined: a value that no field can have. */
interface WantedKey {
  readonly field: string
  readonly key: ScopeKey
}

/**
 * The value of one tracked field as a key that can be compared and indexed: the JSON text of a
 * scalar. undefined when the field is missing or holds an array or an object, which match nothing.
 */
export type ScopeKey = string | undefined

/** The effect of one operation on one tracked field of its record. */
export interface ScopeChange {
  readonly field: string
  readonly after: ScopeKey
  /**
   * Present when the operation changed the field of an existing record. Also on the insert of a record of which
   * other operations are already stored, if it names another value than the record has: then it is that value.
   */
  readonly before?: { readonly key: ScopeKey }
}

/**
 * The effect of an operation on each tracked field; a field that is not listed has no value. A list, because it is
 * made, kept and searched for every operation, and has an entry or two.
 */
export type ScopeChanges = readonly ScopeChange[]

/** The change of one field. */
export function changeOf(changes: ScopeChanges, field: string): ScopeChange | undefined {
  for (const change of changes) if (change.field === field) return change
  return undefined
}

/**
 * The part of a log entry that decides which views show it. An `operation` is shown by views that showed the record
 * before and still do. If it moves the record into a view, that view gets, instead of the operation, the `snapshot`
 * entries that follow it: the whole record in its present state. An insert that arrives after updates of its record
 * is followed by `snapshot` entries too: of the updates, for every view with a scope that shows the record, and of
 * the whole record, for clients that would drop the insert.
 */
export interface Visibility {
  readonly kind: 'operation' | 'snapshot'
  readonly collection: string
  readonly scopeChanges: ScopeChanges
}

/**
 * Makes the view of a client. Only src/sync/authorization.ts and handshake/grant.ts may call it, because they
 * decide what the client may see.
 *
 * Equal subsets are kept once, in the order of their canonical text. So clients that ask for the same subsets, in
 * whatever order, have the same key and share a view.
 */
export function createView(scope: ScopeMap | null, subsets: readonly QuerySubset[] = []): View {
  const subsetsByText = new Map(
    subsets.map(({ collection, where }) => [canonicalJson([collection, where]), { collection, where }]),
  )
  const texts = [...subsetsByText.keys()].sort()
  const ordered = texts.map((text) => subsetsByText.get(text) as QuerySubset) // the texts are the map's keys
  return makeView(scope, ordered, `{"scope":${canonicalJson(scope)},"subsets":[${texts.join(',')}]}`)
}

/** The key of a field value. @see ScopeKey */
export function scopeKeyOf(value: JsonValue | undefined): ScopeKey {
  if (typeof value === 'string') return jsonOfText(value)
  return typeof value === 'object' && value !== null ? undefined : JSON.stringify(value)
}

/**
 * True when the view shows the entry: an operation if the record was shown before and still is, a snapshot if it
 * was not shown before and is now. A view of everything shows every operation and no snapshot.
 */
export function isVisible(entry: Visibility, view: View): boolean {
  // A view of everything needs no snapshots. Checked first, because this runs for each entry and view.
  if (!view.isSelective) return entry.kind === 'operation'
  if (!view.matches(entry, keyAfter)) return false
  const wasVisible = view.matches(entry, keyBefore)
  return entry.kind === 'operation' ? wasVisible : !wasVisible
}

/**
 * True when the view shows a record with these values. A record that is not stored yet has the values `{}`, so only
 * views that ask for no value show it.
 */
export function showsRecord(collection: string, values: FieldValues, view: View): boolean {
  if (!matchesScope(values, collection, view.scope)) return false
  const subsets = view.subsets.filter((subset) => subset.collection === collection)
  return subsets.length === 0 || subsets.some((subset) => matchesValues(values, subset.where))
}

type KeyOf = (change: ScopeChange | undefined) => ScopeKey

const keyAfter: KeyOf = (change) => change?.after
/** What a field held before the operation. */
export const keyBefore: KeyOf = (change) => (change?.before ? change.before.key : change?.after)

function wantedKeys(filter: ScopeFilter): readonly WantedKey[] {
  return Object.entries(filter).map(([field, value]) => ({ field, key: scopeKeyOf(value) }))
}

function hasKeys(changes: ScopeChanges, wanted: readonly WantedKey[], keyOf: KeyOf): boolean {
  for (const { field, key } of wanted) {
    if (key === undefined || keyOf(changeOf(changes, field)) !== key) return false
  }
  return true
}
