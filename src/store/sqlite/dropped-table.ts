import type { Statement } from 'better-sqlite3'
import type { Operation } from '../../core/operation.ts'
import type { RecordKey } from '../append/load.ts'
import { type DroppedOperation, type ListedDropped, toTrace } from '../compaction/compaction.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'
import type { NameTable } from './name-table.ts'
import { decodeRecordId, operationIdKey } from './record-id.ts'

type TraceRow = [id: Buffer, node: number, sequenceNumber: number, wallTime: number, logical: number]
type ListedRow = [
  position: number,
  ...TraceRow,
  collection: string,
  recordId: Buffer | string,
  isPurged: 0 | 1,
]

/** Rows of `_kora_dropped`: what is known of operations that are no longer in the log. */
export class DroppedTable {
  /** False until something was dropped for the first time: then an append need not look. */
  isUsed = false
  readonly #nodes: NameTable
  readonly #statements: ReturnType<typeof prepareStatements>

  constructor(db: SqliteDatabase, nodes: NameTable) {
    this.#nodes = nodes
    this.#statements = prepareStatements(db)
  }

  /** Checks again whether anything was dropped, by this process or another. */
  refresh(): void {
    this.isUsed = this.#statements.any.get() !== undefined
  }

  noteIfDropped(operationId: string, found: Map<string, number>): void {
    if (!this.isUsed) return
    const id = Buffer.from(operationId, 'hex')
    for (const [known, sequenceNumber] of this.#statements.find.all(operationIdKey(operationId))) {
      if (known.equals(id)) found.set(operationId, sequenceNumber)
    }
  }

  has(operationId: string): boolean {
    const found = new Map<string, number>()
    this.noteIfDropped(operationId, found)
    return found.size > 0
  }

  tracesOf({ collection, recordId }: RecordKey, ref: number): Operation[] {
    if (!this.isUsed) return []
    return this.#statements.ofRecord.all(ref).map(([id, node, sequenceNumber, wallTime, logical]) =>
      toTrace({
        operationId: id.toString('hex'),
        nodeId: this.#nodes.nameOf(node),
        sequenceNumber,
        collection,
        recordId,
        wallTime,
        logical,
      }),
    )
  }

  add(dropped: DroppedOperation, ref: number): void {
    this.isUsed = true
    this.#statements.insert.run(
      operationIdKey(dropped.operationId),
      Buffer.from(dropped.operationId, 'hex'),
      this.#nodes.intern(dropped.nodeId),
      dropped.sequenceNumber,
      ref,
      dropped.wallTime,
      dropped.logical,
      dropped.isPurged ? 1 : 0,
    )
  }

  /** Marks the dropped operations of a record that is now forgotten: they no longer say anything of the record. */
  purge(ref: number): void {
    if (this.isUsed) this.#statements.purge.run(ref)
  }

  countOf(ref: number): number {
    return this.isUsed ? (this.#statements.countOf.get(ref) ?? 0) : 0
  }

  count(): number {
    return this.#statements.count.get() ?? 0
  }

  list(after: number, limit: number): ListedDropped[] {
    return this.#statements.list
      .all(after, limit)
      .map(([position, id, node, sequenceNumber, wallTime, logical, collection, recordId, isPurged]) => ({
        position,
        operationId: id.toString('hex'),
        nodeId: this.#nodes.nameOf(node),
        sequenceNumber,
        collection,
        recordId: decodeRecordId(recordId),
        wallTime,
        logical,
        isPurged: isPurged === 1,
      }))
  }
}

function prepareStatements(db: SqliteDatabase) {
  const rows = <Parameters extends unknown[], Row>(sql: string): Statement<Parameters, Row> =>
    db.prepare<Parameters, Row>(sql).raw()
  const trace = 'd.id, d.node, d.sequence_number, d.wall_time, d.logical'
  return {
    any: db.prepare<[], unknown>('SELECT 1 FROM _kora_dropped LIMIT 1'),
    find: rows<[number], [Buffer, number]>('SELECT id, sequence_number FROM _kora_dropped WHERE id_key = ?'),
    ofRecord: rows<[number], TraceRow>(
      `SELECT ${trace} FROM _kora_dropped d WHERE d.record = ? AND d.is_purged = 0`,
    ),
    insert: db.prepare(
      `INSERT INTO _kora_dropped
        (id_key, id, node, sequence_number, record, wall_time, logical, is_purged) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    purge: db.prepare('UPDATE _kora_dropped SET is_purged = 1 WHERE record = ?'),
    countOf: db
      .prepare<[number], number>('SELECT count(*) FROM _kora_dropped WHERE record = ? AND is_purged = 0')
      .pluck(),
    count: db.prepare<[], number>('SELECT count(*) FROM _kora_dropped').pluck(),
    list: rows<[number, number], ListedRow>(
      `SELECT d.position, ${trace}, c.name, r.record_id, d.is_purged
        FROM _kora_dropped d JOIN _kora_records r ON r.id = d.record JOIN _kora_collections c ON c.id = r.collection
        WHERE d.position > ? ORDER BY d.position ${LIMIT}`,
    ),
  }
}
