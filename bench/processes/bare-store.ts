import type { Statement } from 'better-sqlite3'
import type { Operation } from '../../src/core/operation.ts'
import { loadSqliteDriver, type SqliteDatabase } from '../../src/store/sqlite/driver.ts'

export interface Row {
  /** Given when it is written. */
  sequence: number
  readonly operation: Operation
  readonly wireJson: string
}

type Page = { readonly sequence: number; readonly wireJson: string; readonly operation: Operation }[]

const LAYOUT = `
  CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, node INTEGER NOT NULL, sequence INTEGER NOT NULL,
    user TEXT, wire_json TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS log_node ON log (node, sequence);
  CREATE INDEX IF NOT EXISTS log_user ON log (user, seq);
  CREATE TABLE IF NOT EXISTS vector (node TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS todos (id TEXT PRIMARY KEY NOT NULL, title TEXT, completed INTEGER,
    userId TEXT, position REAL, _created_at INTEGER, _updated_at INTEGER, _deleted INTEGER);
  CREATE INDEX IF NOT EXISTS todos_user ON todos (userId);
  CREATE INDEX IF NOT EXISTS todos_completed ON todos (completed);`

/** The log by delivery sequence, with one index to find operations again, and the table that people query. */
export class BareStore {
  head: number
  readonly #db: SqliteDatabase
  readonly #insertLog: Statement<unknown[]>
  readonly #insertRow: Statement<unknown[]>
  readonly #updateRow: Statement<unknown[]>
  readonly #advance: Statement<unknown[]>
  readonly #page: Statement<[number, number], [number, string]>
  readonly #userPage: Statement<[string, number, number], [number, string]>
  readonly #nodes = new Map<string, number>()

  constructor({ filename, durability }: { filename: string; durability: 'full' | 'normal' }) {
    const db = new (loadSqliteDriver())(filename)
    db.pragma('journal_mode = WAL')
    db.pragma(`synchronous = ${durability}`)
    db.pragma('cache_size = -49152')
    db.pragma('wal_autocheckpoint = 4000')
    db.exec(LAYOUT)
    this.#db = db
    this.#insertLog = db.prepare('INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)')
    this.#insertRow = db.prepare('INSERT OR REPLACE INTO todos VALUES (?, ?, ?, ?, ?, ?, ?, 0)')
    this.#updateRow = db.prepare('UPDATE todos SET title = ?, _updated_at = ? WHERE id = ?')
    this.#advance = db.prepare('INSERT OR REPLACE INTO vector VALUES (?, ?)')
    this.#page = db
      .prepare<[number, number], [number, string]>(
        'SELECT seq, wire_json FROM log WHERE seq > ? ORDER BY seq LIMIT ?',
      )
      .raw()
    this.#userPage = db
      .prepare<[string, number, number], [number, string]>(
        'SELECT seq, wire_json FROM log WHERE user = ? AND seq > ? ORDER BY seq LIMIT ?',
      )
      .raw()
    this.head = db.prepare<[], number>('SELECT coalesce(max(seq), 0) FROM log').pluck().get() ?? 0
  }

  /** Writes the rows in one transaction and numbers them. */
  write(rows: readonly Row[]): void {
    this.#db.exec('BEGIN IMMEDIATE')
    const vector = new Map<string, number>()
    for (const row of rows) {
      const { operation, wireJson } = row
      row.sequence = ++this.head
      this.#insertLog.run(
        row.sequence,
        Buffer.from(operation.id, 'hex'),
        this.#nodeNumber(operation.nodeId),
        operation.sequenceNumber,
        operation.data?.userId ?? null,
        wireJson,
      )
      this.#writeRow(operation)
      vector.set(operation.nodeId, operation.sequenceNumber)
    }
    for (const [nodeId, sequence] of vector) this.#advance.run(nodeId, sequence)
    this.#db.exec('COMMIT')
  }

  read(after: number, limit: number): Page {
    return toPage(this.#page.all(after, limit))
  }

  readOf(user: string, after: number, limit: number): Page {
    return toPage(this.#userPage.all(user, after, limit))
  }

  close(): void {
    this.#db.close()
  }

  #writeRow({ type, recordId, data, timestamp: { wallTime } }: Operation): void {
    if (data === null) return
    const { title, completed, userId, position } = data
    if (type === 'update') this.#updateRow.run(title, wallTime, recordId)
    else this.#insertRow.run(recordId, title, completed ? 1 : 0, userId, position, wallTime, wallTime)
  }

  #nodeNumber(nodeId: string): number {
    let number = this.#nodes.get(nodeId)
    if (number === undefined) {
      number = this.#nodes.size + 1
      this.#nodes.set(nodeId, number)
    }
    return number
  }
}

function toPage(rows: readonly [number, string][]): Page {
  const operation = {} as Operation // nobody looks at what is only passed on
  return rows.map(([sequence, wireJson]) => ({ sequence, wireJson, operation }))
}
