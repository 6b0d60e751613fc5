import { ownValue } from '../../core/own-property.ts'
import { isNeeded } from '../../core/schema/field-rules.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'

export interface NeededField {
  readonly collection: string
  readonly field: string
}

/**
 * The fields that a changed schema requires of every record, in collections whose records may have been stored
 * without them. A device that syncs for the first time creates its table by the new schema, and stops at such a
 * record; one that already has the record does not.
 *
 * @see docs/schema.md, "A changed schema"
 */
export function neededSince(earlier: SchemaDefinition, later: SchemaDefinition): readonly NeededField[] {
  return Object.entries(later.collections).flatMap(([collection, { fields }]) => {
    const before =
      ownValue(earlier.collections, collection)?.fields ?? ownValue(earlier.retired ?? {}, collection)
    if (before === undefined) return []
    const added = Object.entries(fields).filter(([field, descriptor]) => {
      const known = ownValue(before, field)
      return isNeeded(descriptor) && (known === undefined || !isNeeded(known))
    })
    return added.map(([field]) => ({ collection, field }))
  })
}
