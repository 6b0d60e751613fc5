import { hash } from 'node:crypto'
import { canonicalJson } from '../canonical-json.ts'
import type { CollectionDefinition, SchemaDefinition } from './types.ts'

/**
 * Identifies what a schema means to a store: schemas with equal fingerprints need the same tables with the same
 * content. Migrations are left out, because they only concern the tables of clients.
 *
 * @returns 64 lower-case hex characters
 */
export function schemaFingerprint(schema: SchemaDefinition): string {
  const collections = Object.fromEntries(
    Object.entries(schema.collections).map(([name, collection]) => [
      name,
      { ...collection, resolverHashes: resolverHashesOf(collection) },
    ]),
  )
  const { version, relations, sync } = schema
  // Through JSON, because the canonical text does not distinguish undefined (no default) from null.
  const plain: unknown = JSON.parse(JSON.stringify({ version, collections, relations, sync }))
  return sha256(canonicalJson(plain))
}

/**
 * Maps each field to the hash of its resolver's source text. A resolver determines the value of records, so a
 * changed one means that they have to be replayed. The hash survives JSON, the function does not. A change outside
 * of the function's source goes unnoticed.
 */
export function resolverHashesOf(collection: CollectionDefinition): { readonly [field: string]: string } {
  if (collection.resolverHashes !== undefined) return collection.resolverHashes
  return Object.fromEntries(
    Object.entries(collection.resolvers).map(([field, resolver]) => [field, sha256(resolver.toString())]),
  )
}

function sha256(text: string): string {
  return hash('sha256', text, 'hex')
}
