import { certain, type Damage } from '../damage/damage.ts'
import type { PostgresDatabase } from './database.ts'
import { LAYOUT_ADDITIONS } from './layout.ts'
import { metaTable } from './meta-table.ts'

interface Index {
  readonly table: string
  readonly isUnique: boolean
  /** What follows "USING" in PostgreSQL's own definition of it, but for storage parameters, which are the operator's. */
  readonly definition: string
}

interface StoredIndex extends Index {
  readonly name: string
  /** False for what an interrupted CREATE INDEX or REINDEX has left, which no statement uses. */
  readonly isValid: boolean
}

/** The indexes of the layout, by their definitions: names may differ, and nothing depends on them. */
const UNIQUE_INDEXES: readonly (readonly [table: string, definition: string])[] = [
  ['_kora_blob_chunks', 'btree (chunk, manifest)'],
  ['_kora_blob_holders', 'btree (hash, holder)'],
  ['_kora_blob_refs', 'btree (hash, collection, record_id)'],
  ['_kora_blob_uploads', 'btree (hash, user_id)'],
  ['_kora_collections', 'btree (id)'],
  ['_kora_collections', 'btree (name)'],
  ['_kora_counters', 'btree (id)'],
  ['_kora_dropped', 'btree ("position")'],
  ['_kora_dropped', 'btree (id)'],
  ['_kora_meta', 'btree (key)'],
  ['_kora_nodes', 'btree (id)'],
  ['_kora_nodes', 'btree (node_id)'],
  ['_kora_operations', 'btree (id) WHERE (kind = 0)'],
  ['_kora_operations', 'btree (seq)'],
  ['_kora_records', 'btree (collection, record_id)'],
  ['_kora_records', 'btree (id)'],
  ['_kora_revocations', 'btree (kind, value)'],
  ['_kora_revocations', 'btree (version)'],
  ['_kora_scope', 'btree (field, key, seq)'],
  ['_kora_servers', 'btree (id)'],
  ['_kora_tracked', 'btree (id)'],
  ['_kora_write_results', 'btree (key)'],
]
const OTHER_INDEXES: readonly (readonly [table: string, definition: string])[] = [
  ['_kora_blob_uploads', 'btree (user_id)'],
  ['_kora_dropped', 'btree (node, sequence_number)'],
  ['_kora_dropped', 'btree (record)'],
  ['_kora_nodes', 'btree (id) WHERE ((user_id IS NULL) AND has_written AND (strpos(node_id, chr(31)) = 0))'],
  ['_kora_nodes', 'hash (user_id)'],
  ['_kora_nodes', 'hash (user_id) WHERE has_written'],
  ['_kora_operations', 'btree (id) WHERE (kind = 1)'],
  ['_kora_operations', 'btree (node, sequence_number)'],
  ['_kora_operations', 'btree (record, seq)'],
]

/**
 * Finds indexes that the store needs and that are gone, or not valid. Without a unique one an append fails, or stores
 * an operation twice; without another, statements read whole tables.
 *
 * @param collections those that have tables
 */
export async function findMissingIndexes(
  db: PostgresDatabase,
  collections: readonly string[],
): Promise<readonly Damage[]> {
  const additions = Number((await metaTable.get(db, 'layout_additions')) ?? 0)
  if (additions < LAYOUT_ADDITIONS.length) return [] // the next start makes what is missing of them
  const stored = await listIndexes(db)
  return expectedIndexes(collections).flatMap((index) => damageOf(db, index, stored))
}

function expectedIndexes(collections: readonly string[]): readonly Index[] {
  return [
    ...UNIQUE_INDEXES.map(([table, definition]) => ({ table, definition, isUnique: true })),
    ...OTHER_INDEXES.map(([table, definition]) => ({ table, definition, isUnique: false })),
    ...collections.map((table) => ({ table, definition: 'btree (id)', isUnique: true })),
  ]
}

async function listIndexes(db: PostgresDatabase): Promise<readonly StoredIndex[]> {
  const rows = await db.rows<
    [table: string, name: string, isUnique: boolean, isValid: boolean, definition: string]
  >(
    `SELECT t.relname, c.relname, x.indisunique, x.indisvalid AND x.indisready,
        regexp_replace(substring(pg_get_indexdef(x.indexrelid) FROM ' USING (.*)$'), ' WITH \\([^)]*\\)', '')
      FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class c ON c.oid = x.indexrelid
      JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = $1`,
    [db.schema],
  )
  return rows.map(([table, name, isUnique, isValid, definition]) => ({
    table,
    name,
    isUnique,
    isValid,
    definition,
  }))
}

function damageOf(db: PostgresDatabase, index: Index, stored: readonly StoredIndex[]): Damage[] {
  const same = stored.filter((other) => isSame(other, index))
  if (same.some(({ isValid }) => isValid)) return []
  const [invalid] = same
  if (invalid !== undefined) {
    const remedy = `REINDEX INDEX ${db.table(invalid.name)} writes it anew`
    return [
      certain(`index ${invalid.name}`, `the database does not use it, because it is not valid. ${remedy}`),
    ]
  }
  const { table, isUnique, definition } = index
  const create = `CREATE ${isUnique ? 'UNIQUE ' : ''}INDEX ON ${db.table(table)} USING ${definition}`
  return [certain(`table ${table}`, `an index of it is missing. ${create} makes it again`)]
}

function isSame(stored: StoredIndex, { table, isUnique, definition }: Index): boolean {
  return stored.table === table && stored.isUnique === isUnique && stored.definition === definition
}
