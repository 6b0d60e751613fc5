import { SchemaError } from '../errors.ts'
import { ownValue } from '../own-property.ts'
import { resolverHashesOf } from './fingerprint.ts'
import type { CollectionDefinition, Resolver, SchemaDefinition } from './types.ts'

/** True when a resolver merges the field, even if only its hash is left. */
export function hasResolver({ resolvers, resolverHashes }: CollectionDefinition, field: string): boolean {
  if (Object.hasOwn(resolvers, field)) return true
  return resolverHashes !== undefined && Object.hasOwn(resolverHashes, field)
}

/**
 * The function that merges the field; undefined when there is none.
 *
 * @throws SchemaError `RESOLVER_MISSING` when only its hash is left: merging in any other way would give a record
 *   that differs from its log
 */
export function resolverOf(
  definition: CollectionDefinition,
  collection: string,
  field: string,
): Resolver | undefined {
  const resolver = ownValue(definition.resolvers, field)
  if (resolver === undefined && hasResolver(definition, field)) throw missing([`${collection}.${field}`])
  return resolver
}

/** "collection.field" of each resolver of which only the hash is left. */
export function missingResolvers({ collections }: SchemaDefinition): string[] {
  return Object.entries(collections).flatMap(([name, { resolvers, resolverHashes = {} }]) =>
    Object.keys(resolverHashes)
      .filter((field) => !Object.hasOwn(resolvers, field))
      .map((field) => `${name}.${field}`),
  )
}

/**
 * Requires all resolvers up front, so that folding many records does not fail halfway.
 *
 * @param collections default: all
 * @throws SchemaError `RESOLVER_MISSING`
 */
export function requireResolvers(schema: SchemaDefinition, collections?: readonly string[]): void {
  const paths = missingResolvers(schema).filter(
    (path) => collections === undefined || collections.some((name) => path.startsWith(`${name}.`)),
  )
  if (paths.length > 0) throw missing(paths)
}

/**
 * Restores resolvers in a schema that has been through JSON: those of another schema whose source is the same.
 *
 * @param own schema of this process
 */
export function withResolversOf(own: SchemaDefinition, schema: SchemaDefinition): SchemaDefinition {
  const collections = Object.entries(schema.collections).map(([name, collection]) => {
    const mine = ownValue(own.collections, name)
    if (mine === undefined || collection.resolverHashes === undefined) return [name, collection] as const
    const known = resolverHashesOf(mine)
    const resolvers: { [field: string]: Resolver } = {}
    for (const [field, hash] of Object.entries(collection.resolverHashes)) {
      const resolver = ownValue(mine.resolvers, field)
      if (resolver !== undefined && known[field] === hash) resolvers[field] = resolver
    }
    return [name, { ...collection, resolvers }] as const
  })
  return { ...schema, collections: Object.fromEntries(collections) }
}

function missing(paths: readonly string[]): SchemaError {
  const names = paths.map((path) => `"${path}"`).join(', ')
  return new SchemaError(
    'RESOLVER_MISSING',
    `The resolver of ${names} is missing here: it is a function, and the database keeps only its hash. ` +
      "Name the app's present schema with --schema or --config.",
  )
}
