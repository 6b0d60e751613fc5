import { createHash } from 'node:crypto'
import type { CollectionDefinition, Constraint, SchemaDefinition } from '../../core/schema/types.ts'

/** An index of a collection table, whose name follows from collection and columns. */
export interface TableIndex {
  readonly name: string
  readonly collection: string
  readonly columns: readonly string[]
}

/**
 * The indexes of a collection's table, each once: the declared ones, one per foreign key, one per constraint for
 * its lookups, and one on `_deleted`.
 *
 * An append looks up live records: because these indexes include `_deleted`, it does not read past the tombstones
 * of a value that was taken and given up a thousand times.
 */
export function indexesOf(schema: SchemaDefinition, collection: string): readonly TableIndex[] {
  const definition = schema.collections[collection]
  if (definition === undefined) return []
  const columnLists = [
    ...definition.indexes.map((field) => [field]),
    ...Object.values(schema.relations)
      .filter((relation) => relation.from === collection)
      .map(({ field, onDelete }) => (onDelete === 'no-action' ? [field] : [field, '_deleted'])),
    ...definition.constraints
      .filter(({ type }) => type !== 'referential') // looked up by the target's id instead
      .map((constraint) => [...constraintColumns(constraint, definition), '_deleted']),
    ['_deleted'],
  ]
  const indexes = columnLists.map((columns) => ({
    name: indexName(collection, columns),
    collection,
    columns,
  }))
  return [...new Map(indexes.map((index) => [index.name, index])).values()]
}

/** The columns by which a group's records are found: the fields of the constraint and of its filter. */
export function constraintColumns(
  { fields, where = {} }: Constraint,
  definition: CollectionDefinition,
): readonly string[] {
  const filtered = Object.keys(where).filter((field) => Object.hasOwn(definition.fields, field))
  return [...new Set([...fields, ...filtered])]
}

const MAX_READABLE_LENGTH = 40 // with prefix and hash, 62 of the 63 bytes that PostgreSQL keeps

/** Readable as far as it fits; the hash distinguishes names whose readable part is the same. */
function indexName(collection: string, columns: readonly string[]): string {
  const readable = [collection, ...columns].join('_').slice(0, MAX_READABLE_LENGTH)
  const hash = createHash('sha256')
    .update(JSON.stringify([collection, ...columns]))
    .digest('hex')
  return `_kora_ix_${readable}_${hash.slice(0, 12)}`
}
