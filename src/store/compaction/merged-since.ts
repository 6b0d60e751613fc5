import { ownValue } from '../../core/own-property.ts'
import { isMergedField } from '../../core/record/field-merge.ts'
import { hasResolver } from '../../core/schema/resolvers.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'

/**
 * Fields that a changed schema merges from now on, and of which compaction may therefore have dropped operations.
 * Where it has, the remaining operations look as if they had been written concurrently.
 *
 * @see docs/compaction.md, "What is left open"
 */
export function mergedSince(
  earlier: SchemaDefinition,
  later: SchemaDefinition,
): { readonly collection: string; readonly change: string }[] {
  return Object.entries(later.collections).flatMap(([name, collection]) => {
    const before = ownValue(earlier.collections, name)
    if (before === undefined) return []
    const changes = Object.keys(before.fields)
      .filter((field) => hasResolver(collection, field) && !isMergedField(before, field))
      .map((field) => `field "${field}" has a resolver now`)
    if (before.constraints.length === 0 && collection.constraints.length > 0)
      changes.push('has constraints now')
    return changes.map((change) => ({
      collection: name,
      change: `${change}: values whose history was compacted may come out otherwise on new devices (docs/compaction.md)`,
    }))
  })
}
