/** The name of a schema, table or column in SQL: quoted, which keeps it apart from keywords and as it is written. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
