import { ownValue } from '../../core/own-property.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { certain, type Damage } from '../damage/damage.ts'
import type { SchemaStep } from '../materialize/schema-change.ts'
import type { PostgresDatabase, Queries } from './database.ts'

/** The columns that every table has beside those of its fields. A rebuild adds none of them. */
const OWN_COLUMNS = ['id', '_created_at', '_updated_at', '_deleted']

/** By collection the columns that somebody has dropped from its table; null: the table itself is gone. */
export type MissingColumns = ReadonlyMap<string, readonly string[] | null>

/** @param schema whose tables should exist */
export async function findMissingColumns(
  queries: Queries,
  databaseSchema: string,
  schema: SchemaDefinition | null,
): Promise<MissingColumns> {
  const collections = schema?.collections ?? {}
  const present = await listColumns(queries, databaseSchema, Object.keys(collections))
  const missing = new Map<string, readonly string[] | null>()
  for (const [name, { fields }] of Object.entries(collections)) {
    const columns = present.get(name)
    const needed = [...Object.keys(fields), ...OWN_COLUMNS]
    const gone = columns === undefined ? null : needed.filter((column) => !columns.includes(column))
    if (gone === null || gone.length > 0) missing.set(name, gone)
  }
  return missing
}

async function listColumns(
  queries: Queries,
  databaseSchema: string,
  tables: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = await queries.rows<[table: string, columns: string[]]>(
    `SELECT c.relname, ARRAY(SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = $1 AND c.relname = ANY ($2)`,
    [databaseSchema, tables],
  )
  return new Map(rows)
}

/** Says which tables are incomplete, and how they become complete again. */
export function damageOfMissing(db: PostgresDatabase, missing: MissingColumns): readonly Damage[] {
  return [...missing].map(([table, columns]) =>
    certain(`table ${table}`, problemOf(db.table(table), columns)),
  )
}

function problemOf(table: string, columns: readonly string[] | null): string {
  const rebuild = '`kora-server migrate --rebuild`'
  if (columns === null) return `the database does not have it. ${rebuild} makes it again`
  const names = columns.map((column) => `"${column}"`).join(', ')
  const problem = columns.length === 1 ? `its column ${names} is missing` : `its columns ${names} are missing`
  if (columns.some((column) => OWN_COLUMNS.includes(column)))
    return `${problem}. DROP TABLE ${table}, then ${rebuild} makes it again`
  return `${problem}. ${rebuild} makes ${columns.length === 1 ? 'it' : 'them'} again`
}

/** The steps that add missing columns of fields to the tables that exist. */
export function stepsToAdd(missing: MissingColumns, schema: SchemaDefinition): readonly SchemaStep[] {
  return [...missing].flatMap(([collection, columns]) =>
    (columns ?? []).flatMap((field): SchemaStep[] => {
      const descriptor = ownValue(schema.collections[collection]?.fields ?? {}, field)
      return descriptor === undefined ? [] : [{ kind: 'add-column', collection, field, descriptor }]
    }),
  )
}
