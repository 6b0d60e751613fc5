import type { Statement } from 'better-sqlite3'
import type { SqliteDatabase } from './driver.ts'

const ROWS_PER_STATEMENT = 10

/** What SQLite takes as a parameter. */
export type SqlValue = string | number | Uint8Array | null

/**
 * Inserts rows with one call for ten of them: binding, starting and ending a statement is a tenth of
 * what a row costs.
 */
export class BulkInsert {
  readonly #width: number
  readonly #one: Statement<[readonly SqlValue[]]>
  readonly #ten: Statement<[readonly SqlValue[]]>
  /** Values of the rows that wait, one after the other; its length never changes. */
  readonly #values: SqlValue[]
  #filled = 0

  /**
   * @param columns quoted where need be
   * @param onConflict the clause, if there is one
   */
  constructor(db: SqliteDatabase, table: string, columns: readonly string[], onConflict = '') {
    this.#width = columns.length
    this.#values = Array<SqlValue>(columns.length * ROWS_PER_STATEMENT).fill(null)
    const row = `(${columns.map(() => '?').join(', ')})`
    // OR FAIL: what fails ends the whole transaction, so SQLite need not copy each page to undo the rows before.
    const insert = (rows: number): Statement<[readonly SqlValue[]]> =>
      db.prepare(
        `INSERT OR FAIL INTO ${table} (${columns.join(', ')}) VALUES ${Array(rows).fill(row).join(', ')} ${onConflict}`,
      )
    this.#one = insert(1)
    this.#ten = insert(ROWS_PER_STATEMENT)
  }

  /** Adds a row, which is in the table after `flush` at the latest. */
  add(row: readonly SqlValue[]): void {
    for (let column = 0; column < this.#width; column++) this.#values[this.#filled++] = row[column] ?? null
    if (this.#filled < this.#values.length) return
    this.#filled = 0
    this.#ten.run(this.#values)
  }

  flush(): void {
    for (let start = 0; start < this.#filled; start += this.#width) {
      this.#one.run(this.#values.slice(start, start + this.#width))
    }
    this.discard()
  }

  /** After a rollback; and after a transaction, so that its largest rows are not kept. */
  discard(): void {
    this.#filled = 0
    this.#values.fill(null)
  }
}
