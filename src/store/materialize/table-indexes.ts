import { createHash } from 'node:crypto'
import type { SchemaDefinition } from '../../core/schema/types.ts'

/** An index of a collection table. Its name follows from collection and columns alone. */
export interface TableIndex {
  readonly name: string
  readonly collection: string
  readonly columns: readonly string[]
}

/**
 * The indexes of a collection's table, each once: those the schema declares, one on each foreign
 * key (deletes look for referring records), one on the fields of each constraint, and one on
 * `_deleted`.
 */
export function indexesOf(schema: SchemaDefinition, collection: string): readonly TableIndex[] {
  const definition = schema.collections[collection]
  if (definition === undefined) return []
  const columnLists = [
    ...definition.indexes.map((field) => [field]),
    ...Object.values(schema.relations)
      .filter((relation) => relation.from === collection)
      .map((relation) => [relation.field]),
    ...definition.constraints.map((constraint) =>
      constraint.type === 'referential' ? constraint.fields.slice(0, 1) : constraint.fields,
    ),
    ['_deleted'],
  ]
  const indexes = columnLists.map((columns) => ({
    name: indexName(collection, columns),
    collection,
    columns,
  }))
  return [...new Map(indexes.map((index) => [index.name, index])).values()]
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
