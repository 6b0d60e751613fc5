import { createHash } from 'node:crypto'
import type { CollectionDefinition, Constraint, SchemaDefinition } from '../../core/schema/types.ts'

/** An index of a collection table. Its name follows from collection and columns alone. */
export interface TableIndex {
  readonly name: string
  readonly collection: string
  readonly columns: readonly string[]
}

/**
 * The indexes of a collection's table, each once: those the schema declares, one on each foreign
 * key, one on what each constraint looks records up by, and one on `_deleted`.
 *
 * What an append looks up is live records: with `_deleted` in those indexes it does not read past
 * the tombstones of a value that was taken and given up a thousand times.
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
      .filter(({ type }) => type !== 'referential') // these look for the target, by its id
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

/** What the records of a group are found by: the fields of the constraint and of its filter. */
export function constraintColumns(
  { fields, where = {} }: Constraint,
  definition: CollectionDefinition,
): readonly string[] {
  const filtered = Object.keys(where).filter((field) => Object.hasOwn(definition.fields, field))
  return [...new Set([...fields, ...filtered])]
}

const MAX_READABLE_LENGTH = 40 // with prefix and hash 62 of the 63 bytes that PostgreSQL keeps

/** Readable as far as it fits; the hash keeps apart what the readable part does not. */
function indexName(collection: string, columns: readonly string[]): string {
  const readable = [collection, ...columns].join('_').slice(0, MAX_READABLE_LENGTH)
  const hash = createHash('sha256')
    .update(JSON.stringify([collection, ...columns]))
    .digest('hex')
  return `_kora_ix_${readable}_${hash.slice(0, 12)}`
}
