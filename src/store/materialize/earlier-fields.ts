import { isDeepStrictEqual } from 'node:util'
import { ownValue } from '../../core/own-property.ts'
import type { FieldDescriptor, SchemaDefinition } from '../../core/schema/types.ts'

export type VersionFields = NonNullable<SchemaDefinition['otherVersions']>

/** The newest other versions that are remembered; devices with older ones are rare. */
export const MAX_VERSIONS = 20

/**
 * Adds what is remembered of earlier schemas: as `retired` the fields that the schema no longer has, but columns
 * and operations still hold, and as `otherVersions` the field names that devices with those versions have columns
 * for.
 *
 * @param recorded the schema that the store has recorded; null for a new store
 * @returns the same object if it already remembers exactly that, because rules and tables are made once per object
 */
export function withEarlierFields(
  schema: SchemaDefinition,
  recorded: SchemaDefinition | null,
): SchemaDefinition {
  return remembering(schema, {
    retired: retiredFields(schema, recorded),
    otherVersions: versionFields(schema, recorded),
  })
}

/** The schema with these memories of others in place of its own. */
export function remembering(
  schema: SchemaDefinition,
  { retired, otherVersions }: Required<Pick<SchemaDefinition, 'retired' | 'otherVersions'>>,
): SchemaDefinition {
  const { retired: _, otherVersions: __, ...own } = schema
  const earlier = {
    ...(Object.keys(retired).length > 0 && { retired }),
    ...(Object.keys(otherVersions).length > 0 && { otherVersions }),
  }
  return isDeepStrictEqual(rememberedBy(schema), rememberedBy(earlier)) ? schema : { ...own, ...earlier }
}

/** Compares by way of JSON, because one of them may have been through it. */
function rememberedBy({
  retired,
  otherVersions,
}: Pick<SchemaDefinition, 'retired' | 'otherVersions'>): unknown {
  return JSON.parse(JSON.stringify({ retired, otherVersions }))
}

/** All fields for which a table of the collection has columns; declared fields take precedence. */
export function keptFields(
  schema: SchemaDefinition,
  collection: string,
): { readonly [field: string]: FieldDescriptor } {
  return {
    ...ownValue(schema.retired ?? {}, collection),
    ...ownValue(schema.collections, collection)?.fields,
  }
}

function retiredFields(
  { collections }: SchemaDefinition,
  recorded: SchemaDefinition | null,
): NonNullable<SchemaDefinition['retired']> {
  const retired: { [collection: string]: { [field: string]: FieldDescriptor } } = {}
  const { collections: before = {}, retired: retiredBefore = {} } = recorded ?? {}
  for (const name of Object.keys({ ...before, ...retiredBefore })) {
    const known = Object.entries({ ...ownValue(retiredBefore, name), ...ownValue(before, name)?.fields })
    const declared = ownValue(collections, name)?.fields ?? {}
    const kept = known.filter(([field]) => !Object.hasOwn(declared, field))
    if (kept.length > 0) retired[name] = Object.fromEntries(kept)
  }
  return retired
}

function versionFields({ version }: SchemaDefinition, recorded: SchemaDefinition | null): VersionFields {
  const others: VersionFields = {
    ...recorded?.otherVersions,
    ...(recorded !== null && { [recorded.version]: fieldNames(recorded) }),
  }
  const kept = Object.entries(others)
    .filter(([other]) => Number(other) !== version)
    .sort(([a], [b]) => Number(b) - Number(a))
    .slice(0, MAX_VERSIONS)
  return Object.fromEntries(kept)
}

/** The names of all fields, by collection. */
export function fieldNames({ collections }: SchemaDefinition): VersionFields[string] {
  return Object.fromEntries(
    Object.entries(collections).map(([name, { fields }]) => [name, Object.keys(fields)]),
  )
}
