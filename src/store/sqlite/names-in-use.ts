import type { SqliteDatabase } from './driver.ts'

/** Those of the names that a table, a view or an index of the file has. */
export function namesInUse(db: SqliteDatabase, names: readonly string[]): string[] {
  const named = db.prepare('SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE')
  return names.filter((name) => named.get(name) !== undefined)
}
