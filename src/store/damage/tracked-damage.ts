import { changeOf, type ScopeChanges } from '../../core/view.ts'
import { certain, type Damage } from './damage.ts'

/** A row of `_kora_tracked` as stored, with any content. */
export interface StoredTrackedField {
  readonly id: number
  /** null: no collection has this number */
  readonly collection: string | null
  readonly field: string | null
  /** The first entry in its part of the index; null: none, or one that cannot be read. */
  readonly firstIndexed: {
    readonly deliverySequence: number
    readonly collection: string
    readonly scopeChanges: ScopeChanges
  } | null
}

/**
 * Finds a row of `_kora_tracked` that names another field than it once did. Any name of a field may have been
 * tracked, in the schema or not; but the entries in its index must contain it.
 */
export function damageOfTracked({ id, collection, field, firstIndexed }: StoredTrackedField): Damage | null {
  if (collection === null) return certain(`row ${id} of _kora_tracked`, 'its collection has no name')
  if (firstIndexed === null || tellsOf(firstIndexed, collection, field)) return null
  const name = field === null ? collection : `${collection}.${field}`
  const problem = `its index holds row ${firstIndexed.deliverySequence} of the log, which does not tell of it`
  return certain(`row ${id} of _kora_tracked`, `as it is, "${name}": ${problem}`)
}

function tellsOf(
  entry: { readonly collection: string; readonly scopeChanges: ScopeChanges },
  collection: string,
  field: string | null,
): boolean {
  if (entry.collection !== collection) return false
  return field === null || changeOf(entry.scopeChanges, field)?.after !== undefined
}
