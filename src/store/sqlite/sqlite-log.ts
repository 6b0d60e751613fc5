import type { Statement } from 'better-sqlite3'
import type { Operation } from '../../core/operation.ts'
import { operationIdOf, operationOfWireJson, recordIdOf } from '../../protocol/wire-identity.ts'
import { possibleDroppedIdsOf } from '../append/dropped-ids.ts'
import type { Loaded, LoadRequest, RecordKey, StoredRecord } from '../append/load.ts'
import type { LogRow } from '../append/number-entries.ts'
import { isSameRecord, RecordMap } from '../append/record-map.ts'
import { serializeScopeChanges } from '../append/scope-changes.ts'
import type { ReadEntry } from '../delivery/read-page.ts'
import { indexRowsOf, type TrackedField } from '../delivery/tracked-fields.ts'
import { KIND_OPERATION, KIND_SNAPSHOT } from '../entry-kinds.ts'
import type { LogEntry } from '../store.ts'
import { BulkInsert } from './bulk-insert.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'
import { DroppedTable } from './dropped-table.ts'
import {
  type ChecksummedRow,
  ENTRY_COLUMNS,
  type EntryRow,
  isOperation,
  recordOf,
  rowChecksum,
  wireJsonOf,
} from './entry-row.ts'
import { LogRows } from './log-rows.ts'
import type { MetaTable } from './meta-table.ts'
import type { NameTable } from './name-table.ts'
import { NodeRuns } from './node-runs.ts'
import { OperationIds } from './operation-ids.ts'
import { RecordTable } from './record-table.ts'
import { ScopeCache } from './scope-cache.ts'
import { ScopeIndex } from './scope-index.ts'
import { WriteResultsTable } from './write-results-table.ts'

/** Columns of `_kora_operations`, in the order in which they are written. */
const COLUMNS = [
  'seq',
  'node',
  'sequence_number',
  'record',
  'collection',
  'wall_time',
  'kind',
  'scope',
  'wire_json',
  'checksum',
]

type LoadedRecords = Pick<Loaded, 'records' | 'firstLeftOut'>

/** Rows of `_kora_operations` and the indexes of the log. */
export class SqliteLog {
  readonly rows: LogRows
  readonly ids: OperationIds
  readonly scope: ScopeIndex
  readonly nodeRuns: NodeRuns
  readonly records: RecordTable
  readonly dropped: DroppedTable
  readonly writeResults: WriteResultsTable
  readonly #nodeNames: NameTable
  readonly #collections: NameTable
  readonly #statements: ReturnType<typeof prepareStatements>
  readonly #newRows: BulkInsert
  readonly #scopes = new ScopeCache()

  constructor(
    db: SqliteDatabase,
    { meta, nodes, collections }: { meta: MetaTable; nodes: NameTable; collections: NameTable },
  ) {
    this.rows = new LogRows(db)
    this.ids = new OperationIds(db, meta)
    this.scope = new ScopeIndex(db)
    this.nodeRuns = new NodeRuns(db)
    this.records = new RecordTable(db, collections, { readOperations: (ref) => this.readOperations(ref) })
    this.dropped = new DroppedTable(db, nodes)
    this.writeResults = new WriteResultsTable(db)
    this.#nodeNames = nodes
    this.#collections = collections
    this.#statements = prepareStatements(db)
    this.#newRows = new BulkInsert(db, '_kora_operations', COLUMNS)
  }

  /** The highest delivery sequence in the log; 0 when it is empty. */
  maxSequence(): number {
    return this.#statements.maxSequence.get() ?? 0
  }

  // ── loading for an append ──────────────────────────────────────────────────────────────────

  /**
   * Loads everything except lookups, which the tables of collections answer, and the vector, which belongs to the
   * nodes.
   */
  load(request: LoadRequest): Omit<Loaded, 'lookups' | 'vector'> {
    const loaded = this.#loadRecords(request.records, request.maxRecordBytes)
    const { operations, dropped } = this.#loadOperations(request.operations, loaded)
    return {
      operations,
      dropped,
      ...loaded,
      histories: this.#loadHistories(request.histories),
      writeResults: this.#loadWriteResults(request.writeKeys ?? []),
      references: (request.references ?? []).map((key) => this.records.find(key)?.state ?? null),
    }
  }

  #loadRecords(keys: LoadRequest['records'], maxBytes = Number.POSITIVE_INFINITY): LoadedRecords {
    const records = new RecordMap<StoredRecord>()
    let bytes = 0
    for (const key of keys) {
      if (bytes >= maxBytes) return { records, firstLeftOut: key }
      const record = this.records.find(key)
      if (record === undefined) continue
      records.set(key, record)
      bytes += record.length
    }
    return { records }
  }

  /** Finds operations that are already stored, and those that were dropped. */
  #loadOperations(
    sought: LoadRequest['operations'],
    { records, firstLeftOut }: LoadedRecords,
  ): { operations: Map<string, string>; dropped: Map<string, number> } {
    const operations = new Map<string, string>()
    const dropped = new Map<string, number>()
    for (const item of sought) {
      const { operation, isIdVerified } = item
      if (firstLeftOut !== undefined && isSameRecord(operation, firstLeftOut)) break // the rest is not planned
      if (isIdVerified === true && !records.has(operation)) continue // as most inserts; of one id, the newest row counts
      const wireJson = this.ids.find(operation.id)
      if (wireJson !== undefined) operations.set(operation.id, wireJson)
      else if (this.dropped.isUsed) {
        for (const id of possibleDroppedIdsOf(item)) this.dropped.noteIfDropped(id, dropped)
      }
    }
    return { operations, dropped }
  }

  #loadHistories(keys: LoadRequest['histories']): RecordMap<readonly Operation[]> {
    const histories = new RecordMap<readonly Operation[]>()
    for (const key of keys) {
      const record = this.records.find(key)
      if (record !== undefined) histories.set(key, this.historyOfRecord(key, record.ref))
    }
    return histories
  }

  #loadWriteResults(keys: readonly string[]): Map<string, string> {
    const writeResults = new Map<string, string>()
    for (const key of keys) {
      const result = this.writeResults.find(key)
      if (result !== undefined) writeResults.set(key, result)
    }
    return writeResults
  }

  /** The record's operations in commit order, without snapshots. */
  operationsOfRecord(ref: number): Operation[] {
    return this.readOperations(ref).operations
  }

  /** The same as `operationsOfRecord`, with the length of what was read for it. */
  readOperations(ref: number): { readonly operations: Operation[]; readonly length: number } {
    const wireJsons = this.#rowsOfRecord(ref).filter(isOperation).map(wireJsonOf)
    return { operations: wireJsons.map(operationOfWireJson), length: lengthOf(wireJsons) }
  }

  /** The operations that a replay folds, with the traces of dropped ones. */
  historyOfRecord(key: RecordKey, ref: number): Operation[] {
    return this.readHistory(key, ref).history
  }

  /** The same as `historyOfRecord`, with the length of what was read for it. */
  readHistory(key: RecordKey, ref: number): { readonly history: Operation[]; readonly length: number } {
    const wireJsons = this.#rowsOfRecord(ref).filter(isOperation).map(wireJsonOf)
    const history = [...wireJsons.map(operationOfWireJson), ...this.dropped.tracesOf(key, ref)]
    return { history, length: lengthOf(wireJsons) }
  }

  // ── writing ────────────────────────────────────────────────────────────────────────────────

  /** Adds a row to the log, together with its record if that is new. */
  writeRow({ entry, record, wallTime }: LogRow, tracked: Iterable<TrackedField>): void {
    record.ref ??= this.records.add(record, entry.deliverySequence)
    const row = {
      seq: entry.deliverySequence,
      node: this.#nodeNames.intern(entry.nodeId),
      sequenceNumber: entry.sequenceNumber,
      record: record.ref,
      collection: this.#collections.intern(entry.collection),
      kind: entry.kind === 'operation' ? KIND_OPERATION : KIND_SNAPSHOT,
      scope: serializeScopeChanges(entry.scopeChanges),
      wireJson: entry.wireJson,
    }
    this.#newRows.add([
      row.seq,
      row.node,
      row.sequenceNumber,
      row.record,
      row.collection,
      wallTime,
      row.kind,
      row.scope,
      row.wireJson,
      rowChecksum(row),
    ])
    this.ids.add(entry.operationId, entry.deliverySequence)
    this.nodeRuns.add(row.node, entry.sequenceNumber, entry.deliverySequence)
    this.indexEntry(entry, tracked)
  }

  /** Writes the pending rows together: call it last in a transaction. */
  flush(): void {
    this.records.flush()
    this.#newRows.flush()
    this.scope.flush()
    this.nodeRuns.flush()
  }

  /** Forgets what is in memory: after a rollback, or with another log, it may not be stored. */
  clearMemory(): void {
    this.records.discardUnwritten()
    this.#newRows.discard()
    this.scope.discardUnwritten()
    this.nodeRuns.discardUnwritten()
    this.ids.clearMemory()
  }

  /** Adds an entry to the index of scopes, by the next flush. */
  indexEntry(entry: LogEntry, tracked: Iterable<TrackedField>): void {
    for (const { id: fieldId, key } of indexRowsOf(entry, tracked)) {
      this.scope.add({ fieldId, key }, entry.deliverySequence)
    }
  }

  replaceScopeChanges(deliverySequence: number, changes: LogEntry['scopeChanges']): void {
    const row = this.#statements.entry.get(deliverySequence)
    if (row === undefined) return
    const [seq, node, sequenceNumber, record, collection, kind] = row
    const wireJson = wireJsonOf(row)
    const scope = serializeScopeChanges(changes)
    const checksum = rowChecksum({ seq, node, sequenceNumber, record, collection, kind, scope, wireJson })
    this.#statements.updateScope.run(scope, checksum, deliverySequence)
  }

  /** Removes an entry from the log. */
  removeEntry(entry: Omit<LogEntry, 'wireJson'>, tracked: Iterable<TrackedField>): void {
    this.#statements.removeOperation.run(entry.deliverySequence)
    this.ids.remove(entry.operationId, entry.deliverySequence)
    this.nodeRuns.remove(this.#nodeNames.intern(entry.nodeId), entry.sequenceNumber, entry.deliverySequence)
    for (const { id: fieldId, key } of indexRowsOf(entry, tracked)) {
      this.scope.remove({ fieldId, key }, entry.deliverySequence)
    }
  }

  // ── reading ────────────────────────────────────────────────────────────────────────────────

  /** The record's rows of the log in delivery order, snapshots too. */
  entriesOfRecord(ref: number): LogEntry[] {
    return this.#rowsOfRecord(ref).map((row) => this.#rowToEntry(row))
  }

  /**
   * The record's rows above `after`: at most `limit` of them, ending with the one that exceeds `maxLength`.
   *
   * @param range.maxLength in characters
   */
  pageOfRecord(ref: number, range: { after: number; limit: number; maxLength: number }): LogEntry[] {
    const { after, limit, maxLength } = range
    const first = this.#firstRowOfRecord(ref)
    const rows = first === undefined || after >= ref ? [] : [first]
    let length = rows.reduce((sum, row) => sum + wireJsonOf(row).length, 0)
    const later = this.#statements.pageOfRecord
    for (const row of length > maxLength ? [] : later.iterate(ref, after, limit - rows.length)) {
      rows.push(row)
      length += wireJsonOf(row).length
      if (length > maxLength) break
    }
    return rows.map((row) => this.#rowToEntry(row))
  }

  #rowToEntry(row: EntryRow): LogEntry {
    const [seq, node, sequenceNumber, record, collection, kind, scope] = row
    const wireJson = wireJsonOf(row)
    return this.toEntry({ seq, node, sequenceNumber, record, collection, kind, scope, wireJson })
  }

  /** Length of the row's JSON, in characters; 0 if there is no such row. */
  lengthOfRow(deliverySequence: number): number {
    return this.#statements.lengthOfRow.get(deliverySequence) ?? 0
  }

  /** Delivery sequence of the record's last row. */
  lastSequenceOfRecord(ref: number): number {
    return this.#statements.lastOfRecord.get(ref) ?? ref
  }

  #rowsOfRecord(ref: number): EntryRow[] {
    const first = this.#firstRowOfRecord(ref)
    const later = this.#statements.laterRowsOfRecord.all(ref)
    return first === undefined ? later : [first, ...later]
  }

  /** The row whose number the record has, if the row belongs to it: it is not in the index of records. */
  #firstRowOfRecord(ref: number): EntryRow | undefined {
    const row = this.#statements.entry.get(ref)
    if (row === undefined || recordOf(row) === ref) return row
    wireJsonOf(row) // it belongs to another record, which a store of layout 1 allows; or it is damaged
    return undefined
  }

  operationsAfter(after: number, limit: number): { deliverySequence: number; wireJson: string }[] {
    return this.#statements.operationsAfter
      .all(after, KIND_OPERATION, limit)
      .map((row) => ({ deliverySequence: row[0], wireJson: wireJsonOf(row) }))
  }

  operationsOfNode(nodeId: string, fromSequence: number, toSequence: number): Operation[] {
    const node = this.#nodeNames.find(nodeId)
    if (node === undefined) return []
    return this.nodeRuns
      .read(node, fromSequence, toSequence)
      .map((sequence) => this.#statements.entry.get(sequence))
      .filter((row) => row !== undefined)
      .filter(isOperation)
      .map(parseWireJson)
  }

  /** @param withScopes false if the entry's scope changes are not needed; they are then left out */
  toReadEntry(row: ChecksummedRow, withScopes: boolean): ReadEntry {
    const { seq, node, sequenceNumber, collection, kind, scope, wireJson } = row
    return {
      deliverySequence: seq,
      kind: kind === KIND_OPERATION ? 'operation' : 'snapshot',
      nodeId: this.#nodeNames.nameOf(node),
      sequenceNumber,
      collection: this.#collections.nameOf(collection),
      wireJson,
      scopeChanges: this.#scopes.parse(withScopes ? scope : null),
    }
  }

  toEntry(row: ChecksummedRow): LogEntry {
    const { deliverySequence, kind, nodeId, sequenceNumber, collection, wireJson, scopeChanges } =
      this.toReadEntry(row, true)
    return {
      deliverySequence,
      kind,
      operationId: operationIdOf(wireJson),
      nodeId,
      sequenceNumber,
      collection,
      recordId: recordIdOf(wireJson, nodeId.length + collection.length),
      wireJson,
      scopeChanges,
    }
  }
}

function lengthOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + text.length, 0)
}

function parseWireJson(row: EntryRow): Operation {
  return operationOfWireJson(wireJsonOf(row))
}

function prepareStatements(db: SqliteDatabase) {
  const entries = (condition: string): Statement<unknown[], EntryRow> =>
    db.prepare<unknown[], EntryRow>(`SELECT ${ENTRY_COLUMNS} FROM _kora_operations ${condition}`).raw()
  return {
    maxSequence: db.prepare<[], number>('SELECT max(seq) FROM _kora_operations').pluck(),
    updateScope: db.prepare('UPDATE _kora_operations SET scope = ?, checksum = ? WHERE seq = ?'),
    entry: entries('WHERE seq = ?'),
    laterRowsOfRecord: entries('WHERE record = ? AND record <> seq ORDER BY seq'),
    lengthOfRow: db
      .prepare<[number], number>('SELECT length(wire_json) FROM _kora_operations WHERE seq = ?')
      .pluck(),
    lastOfRecord: db
      .prepare<[number], number | null>(
        'SELECT max(seq) FROM _kora_operations WHERE record = ? AND record <> seq',
      )
      .pluck(),
    pageOfRecord: entries(`WHERE record = ? AND record <> seq AND seq > ? ORDER BY seq ${LIMIT}`),
    removeOperation: db.prepare('DELETE FROM _kora_operations WHERE seq = ?'),
    operationsAfter: entries(`WHERE seq > ? AND kind = ? ORDER BY seq ${LIMIT}`),
  }
}
