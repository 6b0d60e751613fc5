import type { JsonValue } from './operation.ts'

/** Field → the value it must have. `{}` matches every record. */
export type ScopeFilter = { readonly [field: string]: JsonValue }

/**
 * Collection → filter. A collection that is not listed is hidden. Where a `ScopeMap | null` is
 * taken, null means that everything is visible.
 */
export type ScopeMap = { readonly [collection: string]: ScopeFilter }

/** One live query of a client: it wants only the records of the collection that match. */
export interface QuerySubset {
  readonly collection: string
  readonly where: ScopeFilter
}
