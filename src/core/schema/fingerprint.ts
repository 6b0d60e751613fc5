import { hash } from 'node:crypto'
import { canonicalJson } from '../canonical-json.ts'
import type { CollectionDefinition, SchemaDefinition } from './types.ts'

/**
 * Identifies what a schema means to a store: equal fingerprints ask for the same tables with the
 * same content. Migrations are left out, because they concern the tables of clients only.
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
  // Through JSON, because the canonical text does not tell undefined (no default) from null.
  const plain: unknown = JSON.parse(JSON.stringify({ version, collections, relations, sync }))
  return sha256(canonicalJson(plain))
}

/**
 * Field → hash of its resolver's source text. A resolver decides what a record becomes, so that a
 * changed one means that the records have to be replayed; its hash survives JSON, the function
 * does not. What the function reads from outside itself cannot be seen.
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
