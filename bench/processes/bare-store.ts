import { crc32 } from 'node:zlib'
import type { Statement } from 'better-sqlite3'
import type { Operation } from '../../src/core/operation.ts'
import { BulkInsert, type SqlValue } from '../../src/store/sqlite/bulk-insert.ts'
import { loadSqliteDriver, type SqliteDatabase } from '../../src/store/sqlite/driver.ts'

export interface Row {
  /** Given when it is written. */
  sequence: number
  readonly operation: Operation
  readonly wireJson: string
}

type StoredRow = [sequence: number, wireJson: string, checksum: number | null]

type Page = { readonly sequence: number; readonly wireJson: string; readonly operation: Operation }[]

const LAYOUT = `
  CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, node INTEGER NOT NULL, sequence INTEGER NOT NULL,
    user TEXT, wire_json TEXT NOT NULL, checksum INTEGER);
  CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, record_id BLOB NOT NULL UNIQUE);
  CREATE TABLE IF NOT EXISTS vector (node TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS todos (id TEXT PRIMARY KEY NOT NULL, title TEXT, completed INTEGER,
    userId TEXT, position REAL, _created_at INTEGER, _updated_at INTEGER, _deleted INTEGER);
  CREATE INDEX IF NOT EXISTS todos_user ON todos (userId);
  CREATE INDEX IF NOT EXISTS todos_completed ON todos (completed);`

const INDEXES_BY_ROW = `
  CREATE INDEX IF NOT EXISTS log_node ON log (node, sequence);
  CREATE INDEX IF NOT EXISTS log_user ON log (user, seq);`

const INDEXES_BY_RUN = `
  CREATE TABLE IF NOT EXISTS runs (node INTEGER, user TEXT, sequence INTEGER, seq INTEGER, count INTEGER);
  CREATE INDEX IF NOT EXISTS runs_node ON runs (node, sequence);
  CREATE INDEX IF NOT EXISTS runs_user ON runs (user, seq);`

const LOG_COLUMNS = ['seq', 'id', 'node', 'sequence', 'user', 'wire_json', 'checksum']
const TODO_COLUMNS = [
  'id',
  'title',
  'completed',
  'userId',
  'position',
  '_created_at',
  '_updated_at',
  '_deleted',
]

export interface BareStoreOptions {
  readonly filename: string
  readonly durability: 'full' | 'normal'
  /**
   * Also does what no server can leave out that knows an operation when it comes again, merges, and
   * serves no damaged row: looks each id up (in memory, which is less than a server that restarts
   * needs), finds or adds the record, and gives each row a checksum that is checked when it is read.
   */
  readonly keepsPromises?: boolean
  /** Writes as ours does: ten rows with one call, and a row of the indexes for a run of operations. Is not read. */
  readonly isBulk?: boolean
}

/** What one client has sent in one go. */
interface Run {
  readonly node: number
  readonly user: string | null
  readonly sequence: number
  readonly seq: number
  count: number
}

/**
 * The log by delivery sequence, with an index by node and one by user, for who catches up; and the table that
 * people query, with two of its own. Ids have no index: nothing finds an operation again.
 */
export class BareStore {
  head: number
  readonly #keepsPromises: boolean
  readonly #ids = new Map<string, number>()
  readonly #findRecord: Statement<unknown[], number>
  readonly #insertRecord: Statement<unknown[]>
  readonly #db: SqliteDatabase
  readonly #insertLog: (row: readonly SqlValue[]) => void
  readonly #insertRow: (row: readonly SqlValue[]) => void
  readonly #bulk: { readonly inserts: readonly BulkInsert[]; readonly insertRun: Statement<unknown[]> } | null
  #run: Run | null = null
  readonly #updateRow: Statement<unknown[]>
  readonly #advance: Statement<unknown[]>
  readonly #page: Statement<[number, number], StoredRow>
  readonly #userPage: Statement<[string, number, number], StoredRow>
  readonly #nodes = new Map<string, number>()

  constructor({ filename, durability, keepsPromises = false, isBulk = false }: BareStoreOptions) {
    this.#keepsPromises = keepsPromises
    const db = new (loadSqliteDriver())(filename)
    db.pragma('journal_mode = WAL')
    db.pragma(`synchronous = ${durability}`)
    db.pragma('cache_size = -49152')
    db.pragma('wal_autocheckpoint = 4000')
    db.exec(LAYOUT)
    db.exec(isBulk ? INDEXES_BY_RUN : INDEXES_BY_ROW)
    this.#db = db
    if (isBulk) {
      const log = new BulkInsert(db, 'log', LOG_COLUMNS)
      const todos = new BulkInsert(db, 'todos', TODO_COLUMNS, 'ON CONFLICT (id) DO NOTHING')
      this.#insertLog = (row) => log.add(row)
      this.#insertRow = (row) => todos.add(row)
      const insertRun = db.prepare('INSERT INTO runs VALUES (?, ?, ?, ?, ?)')
      this.#bulk = { inserts: [log, todos], insertRun }
    } else {
      const log = db.prepare('INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)')
      const todos = db.prepare('INSERT OR REPLACE INTO todos VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
      this.#insertLog = (row) => void log.run(row)
      this.#insertRow = (row) => void todos.run(row)
      this.#bulk = null
    }
    this.#updateRow = db.prepare('UPDATE todos SET title = ?, _updated_at = ? WHERE id = ?')
    this.#advance = db.prepare('INSERT OR REPLACE INTO vector VALUES (?, ?)')
    this.#findRecord = db.prepare<unknown[], number>('SELECT id FROM records WHERE record_id = ?').pluck()
    this.#insertRecord = db.prepare('INSERT INTO records (record_id) VALUES (?)')
    this.#page = db
      .prepare<[number, number], StoredRow>(
        'SELECT seq, wire_json, checksum FROM log WHERE seq > ? ORDER BY seq LIMIT ? + 0', // see LIMIT in driver.ts
      )
      .raw()
    this.#userPage = db
      .prepare<[string, number, number], StoredRow>(
        'SELECT seq, wire_json, checksum FROM log WHERE user = ? AND seq > ? ORDER BY seq LIMIT ? + 0',
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
      const node = this.#nodeNumber(operation.nodeId)
      const user = typeof operation.data?.userId === 'string' ? operation.data.userId : null
      this.#insertLog([
        row.sequence,
        Buffer.from(operation.id, 'hex'),
        node,
        operation.sequenceNumber,
        user,
        wireJson,
        this.#keepsPromises ? crc32(wireJson) : null,
      ])
      if (this.#bulk !== null) this.#noteRun(row, node, user)
      if (this.#keepsPromises) this.#keepPromises(row)
      this.#writeRow(operation)
      vector.set(operation.nodeId, operation.sequenceNumber)
    }
    for (const [nodeId, sequence] of vector) this.#advance.run(nodeId, sequence)
    for (const insert of this.#bulk?.inserts ?? []) insert.flush()
    this.#endRun()
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

  #keepPromises({ sequence, operation: { id, recordId } }: Row): void {
    if (this.#ids.has(id)) throw new Error(`Operation ${id} was sent twice`)
    this.#ids.set(id, sequence)
    const key = Buffer.from(recordId.replaceAll('-', ''), 'hex')
    if (this.#findRecord.get(key) === undefined) this.#insertRecord.run(key)
  }

  #noteRun(
    { sequence: seq, operation: { sequenceNumber: sequence } }: Row,
    node: number,
    user: string | null,
  ): void {
    const run = this.#run
    if (run !== null && run.node === node && run.user === user && sequence === run.sequence + run.count) {
      run.count++
      return
    }
    this.#endRun()
    this.#run = { node, user, sequence, seq, count: 1 }
  }

  #endRun(): void {
    if (this.#run === null) return
    const { node, user, sequence, seq, count } = this.#run
    this.#bulk?.insertRun.run(node, user, sequence, seq, count)
    this.#run = null
  }

  #writeRow({ type, recordId, data, timestamp: { wallTime } }: Operation): void {
    if (data === null) return
    const { title, completed, userId, position } = data
    if (type === 'update') this.#updateRow.run(title, wallTime, recordId)
    else {
      const cells = [recordId, title, completed ? 1 : 0, userId, position, wallTime, wallTime, 0]
      this.#insertRow(cells as SqlValue[]) // texts and numbers of our own workload
    }
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

function toPage(rows: readonly StoredRow[]): Page {
  for (const [, wireJson, checksum] of rows) {
    if (checksum !== null && checksum !== crc32(wireJson)) throw new Error('A row is damaged')
  }
  const operation = {} as Operation // nobody looks at what is only passed on
  return rows.map(([sequence, wireJson]) => ({ sequence, wireJson, operation }))
}
