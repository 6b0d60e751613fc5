import { parseStoredSchema } from '../materialize/stored-schema.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import type { PostgresDatabase } from './database.ts'
import { INTERNAL_TABLES } from './layout.ts'
import { metaTable } from './meta-table.ts'
import { openFailure } from './postgres-errors.ts'

/** Rights of the role, which the database tells without any right. */
export interface Rights {
  readonly role: string
  readonly database: string
  readonly mayCreateSchema: boolean
  /** null: the schema does not exist; the same applies below */
  readonly mayUseSchema: boolean | null
  readonly mayCreateTables: boolean | null
  /** null: the schema has no store */
  readonly mayReadMeta: boolean | null
}

/** Reads the rights of the role that the server connects as. */
export async function readRights(db: PostgresDatabase): Promise<Rights> {
  const [row] = await db.rows<[string, string, boolean, boolean | null, boolean | null, boolean | null]>(
    `SELECT current_user, current_database(), has_database_privilege(current_database(), 'CREATE'),
        has_schema_privilege(pg_namespace.oid, 'USAGE'), has_schema_privilege(pg_namespace.oid, 'CREATE'),
        has_table_privilege(pg_class.oid, 'SELECT')
      FROM (SELECT $1::text AS name) AS wanted
        LEFT JOIN pg_namespace ON nspname = wanted.name
        LEFT JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = '_kora_meta'`,
    [db.schema],
  )
  if (row === undefined) throw new Error('The database told nothing of the role')
  const [role, database, mayCreateSchema, mayUseSchema, mayCreateTables, mayReadMeta] = row
  return { role, database, mayCreateSchema, mayUseSchema, mayCreateTables, mayReadMeta }
}

/**
 * Checks that the role may read what exists.
 *
 * @param isReader true when it need not write either
 * @throws StoreError `STORE_OPEN_FAILED`
 */
export function requireReading(db: PostgresDatabase, rights: Rights, isReader: boolean): void {
  const { role, mayUseSchema, mayReadMeta } = rights
  if (mayUseSchema !== false && mayReadMeta !== false) return
  const problem =
    mayUseSchema === false
      ? `may not use the schema "${db.schema}"`
      : `lacks SELECT on the table "_kora_meta" of the schema "${db.schema}"`
  const remedy =
    mayReadMeta === null && !isReader
      ? grantOnSchema(db, ['USAGE', 'CREATE'], role)
      : `${grantOnSchema(db, ['USAGE'], role)}; ${grantOnTables(db, isReader ? ['SELECT'] : WRITING, role)}`
  throw openFailure(db.name, `the role "${role}" ${problem}. Run: ${remedy}`)
}

/**
 * Checks that the role may create tables, and their schema where it does not exist.
 *
 * @throws StoreError `STORE_OPEN_FAILED`
 */
export function requireCreating(db: PostgresDatabase, rights: Rights): void {
  const { role, database, mayCreateSchema, mayCreateTables } = rights
  if (mayCreateTables ?? mayCreateSchema) return
  if (mayCreateTables === false) {
    throw openFailure(
      db.name,
      `the role "${role}" may not create tables in the schema "${db.schema}". Run: ${grantOnSchema(db, ['USAGE', 'CREATE'], role)}`,
    )
  }
  const [schema, grantee] = [quoteIdentifier(db.schema), quoteIdentifier(role)]
  throw openFailure(
    db.name,
    `the role "${role}" may not create the schema "${db.schema}". Run: CREATE SCHEMA ${schema} AUTHORIZATION ${grantee}, or GRANT CREATE ON DATABASE ${quoteIdentifier(database)} TO ${grantee}`,
  )
}

/**
 * Checks that the role owns the tables, because only their owner can make the additions of this release.
 *
 * @throws StoreError `STORE_OPEN_FAILED`
 */
export async function requireOwnership(db: PostgresDatabase): Promise<void> {
  const [row] = await db.rows<[boolean]>(
    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass($1)",
    [db.table('_kora_nodes')],
  )
  if (row?.[0] !== false) return
  throw openFailure(
    db.name,
    'this release adds columns to tables like "_kora_nodes", which the role does not own. Run `kora-server migrate` once as the role that does.',
  )
}

/** The rights on every table that some part of a server needs. */
const WRITING = ['SELECT', 'INSERT', 'UPDATE', 'DELETE']

/**
 * Checks that the role may write the tables of an existing store. Otherwise a server would start, but never be
 * ready.
 *
 * @throws StoreError `STORE_OPEN_FAILED`
 */
export async function requireWriting(db: PostgresDatabase): Promise<void> {
  const stored = await metaTable.get(db, 'schema')
  const collections = stored === null ? [] : Object.keys(parseStoredSchema(stored).collections)
  const lacking = await db.rows<[table: string, rights: string, role: string]>(
    `SELECT relname, string_agg(privilege, ', ' ORDER BY place), current_user
      FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        CROSS JOIN unnest($3::text[]) WITH ORDINALITY AS needed (privilege, place)
      WHERE nspname = $1 AND relname = ANY ($2) AND relkind IN ('r', 'p')
        AND NOT has_table_privilege(pg_class.oid, privilege)
      GROUP BY relname ORDER BY relname`,
    [db.schema, [...INTERNAL_TABLES, ...collections], WRITING],
  )
  const [first] = lacking
  if (first === undefined) return
  const [table, rights, role] = first
  const others = lacking.length === 1 ? '' : `, and rights on ${lacking.length - 1} more`
  throw openFailure(
    db.name,
    `the role "${role}" lacks ${rights} on the table "${table}"${others}. Run: ${grantOnTables(db, WRITING, role)}`,
  )
}

function grantOnTables({ schema }: PostgresDatabase, rights: readonly string[], role: string): string {
  return `GRANT ${rights.join(', ')} ON ALL TABLES IN SCHEMA ${quoteIdentifier(schema)} TO ${quoteIdentifier(role)}`
}

function grantOnSchema({ schema }: PostgresDatabase, rights: readonly string[], role: string): string {
  return `GRANT ${rights.join(', ')} ON SCHEMA ${quoteIdentifier(schema)} TO ${quoteIdentifier(role)}`
}
