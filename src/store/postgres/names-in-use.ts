import type { Queries } from './database.ts'

/** Which of the names a table, a view or an index in this schema of the database already has. */
export async function namesInUse(
  queries: Queries,
  schema: string,
  names: readonly string[],
): Promise<readonly string[]> {
  const rows = await queries.rows<[string]>(
    `SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
      WHERE nspname = $1 AND relname = ANY ($2)`,
    [schema, names],
  )
  return rows.map(([name]) => name)
}
