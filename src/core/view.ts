import { canonicalJson } from './canonical-json.ts'
import { jsonOfText } from './json-text.ts'
import type { FieldValues, JsonValue } from './operation.ts'
import type { QuerySubset, ScopeFilter, ScopeMap } from './scope.ts'
import { matchesScope, matchesFilter as matchesValues } from './scope.ts'

/** Only this module makes views. */
let makeView: (scope: ScopeMap | null, subsets: readonly QuerySubset[], key: string) => View

/**
 * What one client may and wants to see: the granted scope, narrowed by its query subsets.
 * Sessions with equal views share one. A verdict: an object of the same shape is none.
 *
 * @see docs/access.md
 */
export class View {
  /** Canonical text of scope and subsets: equal for equal views. */
  readonly key: string
  readonly subsets: readonly QuerySubset[]
  readonly #scope: ScopeMap | null

  static {
    makeView = (scope, subsets, key) => new View(scope, subsets, key)
  }

  private constructor(scope: ScopeMap | null, subsets: readonly QuerySubset[], key: string) {
    this.#scope = scope
    this.subsets = subsets
    this.key = key
  }

  /** null: everything is granted */
  get scope(): ScopeMap | null {
    return this.#scope
  }

  /** True when it shows some records and not others, so that the values of a record decide. */
  get isSelective(): boolean {
    return this.#scope !== null || this.subsets.length > 0
  }
}

/**
 * The value of one tracked field as a key that can be compared and indexed: the JSON text of a
 * scalar. undefined when the field is missing or holds an array or an object, which match nothing.
 */
export type ScopeKey = string | undefined

/** How one operation left one tracked field of its record. */
export interface ScopeChange {
  readonly after: ScopeKey
  /** Present only when the record existed before and the operation changed the field. */
  readonly before?: { readonly key: ScopeKey }
}

/** Tracked field → what the operation did to it. A field that is not listed is missing. */
export type ScopeChanges = { readonly [field: string]: ScopeChange }

/**
 * What a log entry tells of who may see it. An `operation` is seen by those who saw the record
 * before and still see it. When it brings the record into a view, that view is not sent the
 * operation but the `snapshot` entries that follow it: the whole record in its present state.
 */
export interface Visibility {
  readonly kind: 'operation' | 'snapshot'
  readonly collection: string
  readonly scopeChanges: ScopeChanges
}

/**
 * The view of a client: asked for by src/sync/authorization.ts and nothing else. Equal subsets are kept once, in the order of their canonical text, so that
 * views differ only when what they show does.
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

export function isVisible(entry: Visibility, view: View): boolean {
  // Who sees everything sees every operation, and needs no snapshots. Asked of each entry and view.
  if (!view.isSelective) return entry.kind === 'operation'
  if (!matchesView(entry, view, keyAfter)) return false
  const wasVisible = matchesView(entry, view, keyBefore)
  return entry.kind === 'operation' ? wasVisible : !wasVisible
}

/**
 * True when the view shows a record with these values. A record that nobody has stored yet has the
 * values `{}`: only views that ask for no value show it.
 */
export function showsRecord(collection: string, values: FieldValues, view: View): boolean {
  if (!matchesScope(values, collection, view.scope)) return false
  const subsets = view.subsets.filter((subset) => subset.collection === collection)
  return subsets.length === 0 || subsets.some((subset) => matchesValues(values, subset.where))
}

type KeyOf = (change: ScopeChange | undefined) => ScopeKey

const keyAfter: KeyOf = (change) => change?.after
const keyBefore: KeyOf = (change) => (change?.before ? change.before.key : change?.after)

function matchesView(entry: Visibility, view: View, keyOf: KeyOf): boolean {
  if (view.scope !== null) {
    const filter = Object.hasOwn(view.scope, entry.collection) ? view.scope[entry.collection] : undefined
    if (filter === undefined || !matchesFilter(entry.scopeChanges, filter, keyOf)) return false
  }
  let hasSubset = false
  for (const subset of view.subsets) {
    if (subset.collection !== entry.collection) continue
    if (matchesFilter(entry.scopeChanges, subset.where, keyOf)) return true
    hasSubset = true
  }
  return !hasSubset
}

function matchesFilter(changes: ScopeChanges, filter: ScopeFilter, keyOf: KeyOf): boolean {
  for (const field in filter) {
    const wanted = scopeKeyOf(filter[field])
    if (wanted === undefined) return false
    if (keyOf(Object.hasOwn(changes, field) ? changes[field] : undefined) !== wanted) return false
  }
  return true
}
