import type { SqliteDatabase } from './driver.ts'

/** Those of the names that are in use in the file, for a table, a view or an index. */
export function namesInUse(db: SqliteDatabase, names: readonly string[]): string[] {
  const named = db.prepare('SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE')
  return names.filter((name) => named.get(name) !== undefined)
}
