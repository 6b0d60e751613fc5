import type { StoreError } from '../../core/errors.ts'
import { isCorrupt } from '../damage/corrupt.ts'
import { certain, type Damage } from '../damage/damage.ts'
import type { PostgresDatabase, Queries } from './database.ts'
import { isDiskError } from './postgres-errors.ts'

/** A file of the database: a table of the store, or an index of one. */
export interface Relation {
  readonly table: string
  readonly path: string
  /** null: the table itself */
  readonly index: IndexDefinition | null
}

interface IndexDefinition {
  readonly name: string
  readonly method: 'btree' | 'hash'
  /** Columns and expressions, as SQL. */
  readonly keys: readonly string[]
  /** The condition of a partial index, as SQL; else "true". */
  readonly predicate: string
}

/** Every so many entries one is looked up from the root, which reads the pages above the leaves. */
const LOOKED_UP = 100

const ONLY_THE_TABLE =
  'SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; ' +
  'SET LOCAL enable_bitmapscan = off'

const ONLY_THE_INDEX =
  'SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_tidscan = off; ' +
  'SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off; ' +
  'SET LOCAL enable_memoize = off'

/**
 * Reads the tables of a store and their indexes, because PostgreSQL compares a page with its checksum when it reads
 * it from a file. A file that is missing, or that the disk does not give, is told likewise. Not read are: pages that
 * it has in memory, and serves from there; values that are stored outside of their rows; pages of a hash index that no
 * row leads to.
 *
 * @param collections those that have tables
 */
export async function findDamagedPages(
  db: PostgresDatabase,
  collections: readonly string[],
): Promise<readonly Damage[]> {
  const relations = await listRelations(db, collections)
  const found = new Map<string, Damage>()
  for (const relation of relations) {
    const message = await tryToRead(db, relation)
    if (message === null) continue
    const damaged = relationNamedIn(message, relations) ?? relation
    found.set(damaged.path, damageOf(db, damaged, message))
  }
  return [...found.values()]
}

async function listRelations(db: PostgresDatabase, collections: readonly string[]): Promise<Relation[]> {
  const rows = await db.rows<
    [
      table: string,
      path: string,
      index: string | null,
      method: 'btree' | 'hash',
      keys: string[],
      predicate: string,
    ]
  >(
    `WITH tables AS (
        SELECT c.oid, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' AND (starts_with(c.relname, '_kora_') OR c.relname = ANY($2))
      )
      SELECT relname, pg_relation_filepath(oid), NULL, NULL, NULL, NULL FROM tables
      UNION ALL
      SELECT t.relname, pg_relation_filepath(x.indexrelid), c.relname, a.amname,
          ARRAY(SELECT pg_get_indexdef(x.indexrelid, key, false) FROM generate_series(1, x.indnkeyatts) AS key),
          coalesce(pg_get_expr(x.indpred, x.indrelid), 'true')
        FROM tables t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class c ON c.oid = x.indexrelid
        JOIN pg_am a ON a.oid = c.relam
        WHERE x.indisvalid AND a.amname IN ('btree', 'hash')
          AND (starts_with(c.relname, '_kora_') OR x.indisprimary)`,
    [db.schema, collections],
  )
  return rows.map(([table, path, name, method, keys, predicate]) => ({
    table,
    path,
    index: name === null ? null : { name, method, keys, predicate },
  }))
}

/** @returns the database's message, where it cannot read it */
async function tryToRead(db: PostgresDatabase, relation: Relation): Promise<string | null> {
  try {
    await db.transaction((queries) => readAll(queries, db.table(relation.table), relation.index), {
      isLong: true,
    })
    return null
  } catch (error) {
    if (isCorrupt(error) || isDiskError(error)) return ((error as StoreError).cause as Error).message
    throw error
  }
}

/**
 * What a message is about, because a damaged first page of an index lets every statement on its table fail. A message
 * has the file or, of a page without content, the name of the index; both are in quotes or not, as is usual in the
 * version and the language of the database.
 */
export function relationNamedIn(message: string, relations: readonly Relation[]): Relation | undefined {
  const words = new Set(message.match(/[\w/]+/g))
  return relations.find(({ path, index }) => words.has(path) || (index !== null && words.has(index.name)))
}

async function readAll(queries: Queries, table: string, index: IndexDefinition | null): Promise<void> {
  await queries.records(index === null ? ONLY_THE_TABLE : ONLY_THE_INDEX, [])
  if (index === null) await queries.records(`SELECT count(*) FROM ${table}`, [])
  else await queries.records(index.method === 'btree' ? readBtree(table, index) : readHash(table, index), [])
}

/** Only one index has this order. */
function readBtree(table: string, { keys, predicate }: IndexDefinition): string {
  const named = keys.map((key, at) => `${key} AS _kora_key_${at}`).join(', ')
  const names = keys.map((_, at) => `_kora_entry._kora_key_${at}`).join(', ')
  const order = keys.join(', ')
  return `SELECT count(_kora_found.hit) FROM (
      SELECT *, row_number() OVER () AS _kora_place
      FROM (SELECT ${named} FROM ${table} WHERE ${predicate} ORDER BY ${order}) AS _kora_ordered
    ) AS _kora_entry LEFT JOIN LATERAL (
      SELECT true AS hit FROM ${table}
      WHERE _kora_entry._kora_place % ${LOOKED_UP} = 0 AND (${predicate}) AND (${order}) >= (${names})
      ORDER BY ${order} LIMIT 1
    ) AS _kora_found ON true`
}

/** Looks every value up, because a hash index has no order. */
function readHash(table: string, { keys: [key], predicate }: IndexDefinition): string {
  return `SELECT count(_kora_found.hit) FROM (
      SELECT DISTINCT ${key} AS _kora_key FROM ${table} WHERE ${predicate}
    ) AS _kora_entry JOIN LATERAL (
      SELECT true AS hit FROM ${table} WHERE (${predicate}) AND ${key} = _kora_entry._kora_key
    ) AS _kora_found ON true`
}

function damageOf(db: PostgresDatabase, { table, index }: Relation, message: string): Damage {
  return index === null
    ? certain(`table ${table}`, `the database cannot read it: ${message}`)
    : certain(
        `index ${index.name}`,
        `the database cannot read it: ${message}. REINDEX INDEX ${db.table(index.name)} writes it anew`,
      )
}
