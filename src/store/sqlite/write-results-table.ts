import type { Statement } from 'better-sqlite3'
import type { SqliteDatabase } from './driver.ts'

/** Rows of `_kora_write_results`: the results of server writes with an idempotency key. */
export class WriteResultsTable {
  readonly #find: Statement<[Buffer], string>
  readonly #insert: Statement<[Buffer, string]>

  constructor(db: SqliteDatabase) {
    this.#find = db.prepare<[Buffer], string>('SELECT result FROM _kora_write_results WHERE key = ?').pluck()
    this.#insert = db.prepare('INSERT INTO _kora_write_results (key, result) VALUES (?, ?)')
  }

  /** @param key in hexadecimal */
  find(key: string): string | undefined {
    return this.#find.get(Buffer.from(key, 'hex'))
  }

  /** @param key in hexadecimal */
  add(key: string, result: string): void {
    this.#insert.run(Buffer.from(key, 'hex'), result)
  }
}
