import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { decodeRecordId } from '../../../src/store/sqlite/record-id.ts'

/**
 * Rows of the log, records and rows of tables that two files of one store hold differently, as SQLite reads them:
 * for each the places of which `check --deep` should name one. What one of the two lacks is not among them. A record
 * whose name is damaged has two: the one that it had, and the one that the damaged file gives it.
 *
 * @param collections whose tables are compared
 * @returns null where SQLite itself cannot read it
 */
export function findChangedRows(
  soundFile: string,
  damagedFile: string,
  collections: readonly string[],
): readonly (readonly string[])[] | null {
  const sound = readRows(soundFile, collections)
  const damaged = readRows(damagedFile, collections)
  if (sound === null || damaged === null) return null
  return [...sound].flatMap(([key, before]) => {
    const after = damaged.get(key)
    if (after === undefined || after.text === before.text) return []
    return [[...new Set([before.place, after.place])]]
  })
}

interface Row {
  readonly place: string
  readonly text: string
}

/** By table and key. */
function readRows(filename: string, collections: readonly string[]): ReadonlyMap<string, Row> | null {
  const rows = new Map<string, Row>()
  try {
    const db = new (loadSqliteDriver())(filename, { readonly: true })
    try {
      const read = (table: string, placeOf: (row: Record<string, unknown>) => string, key = 'id'): void => {
        for (const row of db.prepare(`SELECT * FROM "${table}" NOT INDEXED`).all() as Record<
          string,
          unknown
        >[])
          rows.set(`${table} ${row[key]}`, { place: placeOf(row), text: JSON.stringify(row) })
      }
      read('_kora_operations', ({ seq }) => `row ${seq} of the log`, 'seq')
      const names = new Map(
        (db.prepare('SELECT id, name FROM _kora_collections').all() as { id: number; name: string }[]).map(
          ({ id, name }) => [id, name],
        ),
      )
      read('_kora_records', ({ id, collection, record_id }) => {
        const name = names.get(collection as number)
        if (name === undefined || !isRecordId(record_id)) return `record ${id} of _kora_records`
        return `record ${name}/${decodeRecordId(record_id)}`
      })
      for (const collection of collections) read(collection, ({ id }) => `record ${collection}/${id}`)
      return rows
    } finally {
      db.close()
    }
  } catch {
    return null
  }
}

function isRecordId(stored: unknown): stored is Buffer | string {
  return typeof stored === 'string' || (Buffer.isBuffer(stored) && stored.length === 16)
}
