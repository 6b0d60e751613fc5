import { parseStoredSchema } from '../materialize/stored-schema.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import type { PostgresDatabase } from './database.ts'
import { INTERNAL_TABLES } from './layout.ts'
import { metaTable } from './meta-table.ts'
import { openFailure } from './postgres-errors.ts'

/** What some part of a server does with every table. */
const WRITING = ['SELECT', 'INSERT', 'UPDATE', 'DELETE']

/**
 * Sees that the role may write the tables of a store that is there. A server would start otherwise, and never be ready.
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
