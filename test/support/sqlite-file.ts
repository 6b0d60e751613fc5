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
