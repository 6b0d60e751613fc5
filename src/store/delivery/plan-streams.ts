import type { ScopeFilter } from '../../core/scope.ts'
import { scopeKeyOf, type View } from '../../core/view.ts'
import { indexKeyOf, type TrackedField, type TrackedFields, WHOLE_COLLECTION_KEY } from './tracked-fields.ts'

/** One place of the scope index. */
export interface IndexKey {
  readonly fieldId: number
  readonly key: string
}

/**
 * A part of what a view sees: every entry of it stands under each of these keys, so that the
 * rarest of them is the cheapest way to read it.
 */
export type Stream = readonly [IndexKey, ...IndexKey[]]

/**
 * The parts of the scope index that together hold everything that a view sees, and usually little
 * else. null when there are none and the log itself has to be read: for a view that sees all, or
 * one whose fields are not tracked.
 *
 * @param collections every collection that the log holds
 */
export function planStreams(
  view: View,
  tracked: TrackedFields,
  collections: Iterable<string>,
): Stream[] | null {
  if (view.scope === null && view.subsets.length === 0) return null
  const streams = new Map<string, Stream>()
  for (const collection of view.scope === null ? collections : Object.keys(view.scope)) {
    for (const filter of filtersOf(view, collection)) {
      const stream = streamOf(collection, filter, tracked)
      if (stream === null) return null
      streams.set(stream.map(({ fieldId, key }) => `${fieldId}:${key}`).join(), stream)
    }
  }
  return [...streams.values()]
}

/** What the view lets through of one collection: entries that match one of these filters. */
function filtersOf(view: View, collection: string): ReadonlyMap<string, string>[] {
  const granted = view.scope?.[collection] ?? {}
  const subsets = view.subsets.filter((subset) => subset.collection === collection)
  const wanted: readonly ScopeFilter[] = subsets.length === 0 ? [{}] : subsets.map((subset) => subset.where)
  return wanted.flatMap((where) => bothFilters(granted, where) ?? [])
}

/** Field → key of both filters together; null when nothing can match. */
function bothFilters(granted: ScopeFilter, wanted: ScopeFilter): ReadonlyMap<string, string> | null {
  const keys = new Map<string, string>()
  for (const [field, value] of [...Object.entries(granted), ...Object.entries(wanted)]) {
    const key = scopeKeyOf(value)
    if (key === undefined || (keys.get(field) ?? key) !== key) return null
    keys.set(field, key)
  }
  return keys
}

function streamOf(
  collection: string,
  filter: ReadonlyMap<string, string>,
  tracked: TrackedFields,
): Stream | null {
  const keys: IndexKey[] = []
  for (const [field, key] of filter) {
    const known = readyField(tracked.get(collection, field))
    if (known !== undefined) keys.push({ fieldId: known.id, key: indexKeyOf(key) })
  }
  const whole = readyField(tracked.get(collection, null))
  if (keys.length === 0 && whole !== undefined) keys.push({ fieldId: whole.id, key: WHOLE_COLLECTION_KEY })
  const [first, ...rest] = keys
  return first === undefined ? null : [first, ...rest]
}

function readyField(field: TrackedField | undefined): TrackedField | undefined {
  return field?.isReady === true ? field : undefined
}
