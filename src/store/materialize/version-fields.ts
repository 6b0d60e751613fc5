import type { SchemaDefinition } from '../../core/schema/types.ts'

type VersionFields = NonNullable<SchemaDefinition['otherVersions']>

/** The newest other versions that are remembered; devices of older ones are few. */
const MAX_VERSIONS = 20

/**
 * The schema with the field names of the other versions that the store has had: what devices of those
 * versions have columns for.
 *
 * @param recorded the schema that the store records of itself; null for a new store
 */
export function withOtherVersions(
  schema: SchemaDefinition,
  recorded: SchemaDefinition | null,
): SchemaDefinition {
  const { otherVersions: _, ...own } = schema
  const others: VersionFields = {
    ...recorded?.otherVersions,
    ...(recorded !== null && { [recorded.version]: fieldNames(recorded) }),
  }
  const kept = Object.entries(others)
    .filter(([version]) => Number(version) !== schema.version)
    .sort(([a], [b]) => Number(b) - Number(a))
    .slice(0, MAX_VERSIONS)
  return kept.length === 0 ? own : { ...own, otherVersions: Object.fromEntries(kept) }
}

function fieldNames({ collections }: SchemaDefinition): VersionFields[string] {
  return Object.fromEntries(
    Object.entries(collections).map(([name, { fields }]) => [name, Object.keys(fields)]),
  )
}
