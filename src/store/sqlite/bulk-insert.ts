import type { Statement } from 'better-sqlite3'
import type { SqliteDatabase } from './driver.ts'

const ROWS_PER_STATEMENT = 10

/** Parameters that SQLite accepts. */
export type SqlValue = string | number | Uint8Array | null

/** Inserts rows in groups of ten: binding, starting and ending a statement is a tenth of the cost of a row. */
export class BulkInsert {
  readonly #width: number
  readonly #one: Statement<[readonly SqlValue[]]>
  readonly #ten: Statement<[readonly SqlValue[]]>
  /** Values of the pending rows, one after the other; its length never changes. */
  readonly #values: SqlValue[]
  #filled = 0

  /**
   * @param columns quoted where necessary
   * @param onConflict the clause, if any
   */
  constructor(db: SqliteDatabase, table: string, columns: readonly string[], onConflict = '') {
    this.#width = columns.length
    this.#values = Array<SqlValue>(columns.length * ROWS_PER_STATEMENT).fill(null)
    const row = `(${columns.map(() => '?').join(', ')})`
    // OR FAIL: a failure ends the whole transaction anyway, so SQLite need not copy pages to undo the earlier rows.
    const insert = (rows: number): Statement<[readonly SqlValue[]]> =>
      db.prepare(
        `INSERT OR FAIL INTO ${table} (${columns.join(', ')}) VALUES ${Array(rows).fill(row).join(', ')} ${onConflict}`,
      )
    this.#one = insert(1)
    this.#ten = insert(ROWS_PER_STATEMENT)
  }

  /** Adds a row; it is in the table after `flush` at the latest. */
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

  /**
   * Forgets the pending rows: after a rollback, and after a transaction, so that its largest rows do not stay in
   * memory.
   */
  discard(): void {
    this.#filled = 0
    this.#values.fill(null)
  }
}
