import { changeOf, type ScopeChanges } from '../../core/view.ts'
import { certain, type Damage } from './damage.ts'

/** A row of `_kora_tracked` as it is stored, which may be anything. */
export interface StoredTrackedField {
  readonly id: number
  /** null: no collection has the number that stands there */
  readonly collection: string | null
  readonly field: string | null
  /** The entry that its part of the index begins with; null: none, or one that cannot be read. */
  readonly firstIndexed: {
    readonly deliverySequence: number
    readonly collection: string
    readonly scopeChanges: ScopeChanges
  } | null
}

/**
 * What shows that a row of `_kora_tracked` names another field than it did. The name of any field may have been
 * tracked, of the schema or not; but what stands in its index must tell of it.
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
