import { existsSync } from 'node:fs'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'

/** What SQLite itself says of a database file: `ok`, or what is damaged. Reading it recovers its log. */
export function integrityOf(filename: string): string {
  const db = new (loadSqliteDriver())(filename)
  try {
    return String(db.pragma('integrity_check', { simple: true }))
  } finally {
    db.close()
  }
}

/** Whether a change of the schema has rows left to write; false for what is no store yet. */
export function hasWorkLeft(path: string): boolean {
  if (!existsSync(path)) return false
  const database = new (loadSqliteDriver())(path, { readonly: true })
  try {
    return database.prepare("SELECT 1 FROM _kora_meta WHERE key = 'schema_change'").get() !== undefined
  } catch {
    return false // it is being made
  } finally {
    database.close()
  }
}
