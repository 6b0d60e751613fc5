/** Quotes the name of a schema, table or column for SQL: this keeps its case, and it may be a keyword. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
