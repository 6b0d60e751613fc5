import type { FieldValues, JsonValue } from './operation.ts'
import { ownValue, setOwnValue } from './own-property.ts'

/** Field → the value that it must have. `{}` matches every record. */
export type ScopeFilter = { readonly [field: string]: JsonValue }

/**
 * Collection → filter. A collection that is not listed is hidden. Where a `ScopeMap | null` is
 * taken, null means that everything is visible.
 */
export type ScopeMap = { readonly [collection: string]: ScopeFilter }

/** One live query of a client, which wants only the matching records of the collection. */
export interface QuerySubset {
  readonly collection: string
  readonly where: ScopeFilter
}

/**
 * The scope that a client gets: what its authentication grants, narrowed but never widened by what it asks for. If
 * it names collections, it gets those of them that are granted; within a collection, its fields are added to the
 * granted ones, which take precedence. An empty request counts as none.
 *
 * @param granted null: everything is granted
 * @see docs/protocol.md, "Scopes"
 */
export function grantScope(granted: ScopeMap | null, requested: ScopeMap | undefined): ScopeMap | null {
  const wishes = requested === undefined || Object.keys(requested).length === 0 ? null : requested
  if (granted === null || wishes === null) return granted ?? wishes
  const scope: { [collection: string]: ScopeFilter } = {}
  for (const [collection, grantedFilter] of Object.entries(granted)) {
    const wish = ownValue(wishes, collection)
    if (wish !== undefined) setOwnValue(scope, collection, { ...wish, ...grantedFilter })
  }
  return scope
}

/**
 * True when a record with these values is inside the scope: its collection is listed, and every field of the filter
 * is present with exactly the filter's value. A missing field does not equal null, and arrays and objects match
 * nothing.
 */
export function matchesScope(values: FieldValues, collection: string, scope: ScopeMap | null): boolean {
  if (scope === null) return true
  const filter = ownValue(scope, collection)
  return filter !== undefined && matchesFilter(values, filter)
}

/** True when the values have every field of the filter with exactly its value. */
export function matchesFilter(values: FieldValues, filter: ScopeFilter): boolean {
  for (const field of Object.keys(filter)) {
    const wanted = filter[field]
    if (typeof wanted === 'object' && wanted !== null) return false
    if (!Object.hasOwn(values, field) || values[field] !== wanted) return false
  }
  return true
}
