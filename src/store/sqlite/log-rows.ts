import type { Statement } from 'better-sqlite3'
import { LIMIT, type SqliteDatabase } from './driver.ts'
import { type ChecksummedRow, ENTRY_TEXT, parseEntryText } from './entry-row.ts'

/** Rows of the log by their delivery sequence, as pages of it take them. */
export class LogRows {
  readonly #row: Statement<[number], string>
  readonly #rowsAfter: Statement<[number, number], string>

  /** @param db the connection that reads them */
  constructor(db: SqliteDatabase) {
    this.#row = db
      .prepare<[number], string>(`SELECT ${ENTRY_TEXT} FROM _kora_operations WHERE seq = ?`)
      .pluck()
    this.#rowsAfter = db
      .prepare<[number, number], string>(
        `SELECT ${ENTRY_TEXT} FROM _kora_operations WHERE seq > ? ORDER BY seq ${LIMIT}`,
      )
      .pluck()
  }

  /** Reads the rows with these delivery sequences, in the same order; skips those that compaction has dropped. */
  read(sequences: readonly number[]): ChecksummedRow[] {
    const rows: ChecksummedRow[] = []
    for (const sequence of sequences) {
      const text = this.#row.get(sequence)
      if (text !== undefined) rows.push(parseEntryText(text))
    }
    return rows
  }

  /** Reads the rows above `after`, ascending. */
  scan(after: number, limit: number): ChecksummedRow[] {
    return this.#rowsAfter.all(after, limit).map(parseEntryText)
  }
}
