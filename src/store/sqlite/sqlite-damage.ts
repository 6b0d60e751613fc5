import type { Operation } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { operationIdOf, recordIdOf } from '../../protocol/wire-identity.ts'
import { parseScopeChanges } from '../append/scope-changes.ts'
import { isCorrupt } from '../damage/corrupt.ts'
import {
  certain,
  type Damage,
  type DamageSource,
  type StoredRecordRow,
  type StoredRow,
  type UnreadableRecord,
  type UnreadableRow,
} from '../damage/damage.ts'
import { damageOfTracked, type StoredTrackedField } from '../damage/tracked-damage.ts'
import { damageOfClaim, INHERITED_CLAIM } from '../damage/vector-claims.ts'
import { indexRowsOf } from '../delivery/tracked-fields.ts'
import { KIND_OPERATION } from '../entry-kinds.ts'
import { RetiredFields } from '../materialize/stored-schema.ts'
import type { MaterializedRecord } from '../store.ts'
import { LIMIT } from './driver.ts'
import { ENTRY_COLUMNS, type EntryRow, isDamaged } from './entry-row.ts'
import { nodeOfEntrySql } from './node-registry.ts'
import { decodeRecordId, operationIdKey } from './record-id.ts'
import { AS_INSERTED } from './record-table.ts'
import type { SqliteCore } from './sqlite-core.ts'
import { toStoreError } from './sqlite-errors.ts'

const MAX_PAGE_ROWS = 1000
const MAX_PAGE_BYTES = 8 * 1024 * 1024
const MAX_DATABASE_PROBLEMS = 20
/** Stands for a state that damage has turned to bytes, and that cannot be parsed. */
const NO_STATE = 'bytes'
const FIRST = 'ORDER BY key, seq LIMIT 1'

/** With its time, which no checksum covers: only searches use it. */
type TimedEntryRow = [...EntryRow, wallTime: number]
type RecordColumns = [ref: number, collection: number, recordId: Buffer | string, state: string]

/** What `check --deep` reads from an SQLite file. */
export class SqliteDamageSource implements DamageSource {
  readonly dialect = 'sqlite'
  readonly #core: SqliteCore
  readonly #unfinished: () => ReadonlySet<string>
  readonly #retiredFields = new RetiredFields()
  readonly #statements: ReturnType<typeof prepareStatements>

  /** @param unfinished called each time: another process may change the schema while this one reads */
  constructor(core: SqliteCore, unfinished: () => ReadonlySet<string>) {
    this.#core = core
    this.#unfinished = unfinished
    this.#statements = prepareStatements(core)
  }

  get runtime() {
    return this.#core.runtime
  }

  get schema() {
    return this.#core.schema
  }

  get unfinished(): ReadonlySet<string> {
    return this.#unfinished()
  }

  async *findDatabaseDamage(): AsyncGenerator<Damage> {
    const found = this.#core.db.pragma(`integrity_check(${MAX_DATABASE_PROBLEMS})`) as {
      integrity_check: string
    }[]
    const problems = found.map((row) => row.integrity_check).filter((text) => text !== 'ok')
    yield* problems.map((problem) => certain('the file', problem))
    yield* this.#statements.claimsAhead.all(this.#serverNodes()).map((claim) => damageOfClaim(...claim))
  }

  /** As JSON. Their numbers also count snapshots, which may be stored in other ways or not at all. */
  #serverNodes(): string {
    return JSON.stringify([this.#core.serverNodeId, ...this.#core.formerNodeIds])
  }

  async readEnd(): Promise<{ deliverySequence: number; operations: number }> {
    const { db, meta, log } = this.#core
    return db.transaction(() => {
      this.#core.refreshIfForeign()
      return { deliverySequence: log.maxSequence(), operations: meta.getNumber('operation_count') }
    })()
  }

  async readRows(after: number, end: number): Promise<readonly (StoredRow | UnreadableRow)[]> {
    const rows: (StoredRow | UnreadableRow)[] = []
    let bytes = 0
    this.#core.refreshIfForeign()
    for (const row of this.#statements.rows.iterate(after, end, MAX_PAGE_ROWS)) {
      rows.push(this.#toStoredRow(row))
      const text: string | null = row[7] // damage turns text to NULL
      bytes += text?.length ?? 0
      if (bytes > MAX_PAGE_BYTES) break
    }
    return rows
  }

  async readRetiredFields(collection: string): Promise<readonly string[]> {
    return this.#retiredFields.of(this.#core.meta.get('schema'), collection)
  }

  async countRecords(): Promise<number> {
    return this.#statements.countRecords.get() ?? 0
  }

  /** In one transaction, because a writer removes an entry together with its index rows. */
  async findTrackedDamage(): Promise<readonly Damage[]> {
    return this.#core.db.transaction(() => {
      this.#core.refreshIfForeign()
      return this.#statements.tracked
        .all()
        .map(([id, collection, field]) =>
          damageOfTracked({
            id,
            collection: this.#nameOf(collection),
            field,
            firstIndexed: this.#firstIndexed(id),
          }),
        )
        .filter((damage) => damage !== null)
    })()
  }

  async readRecords(
    afterRef: number,
    limit: number,
  ): Promise<readonly (StoredRecordRow | UnreadableRecord)[]> {
    const { db, filename } = this.#core
    const read = () => {
      this.#core.refreshIfForeign()
      return this.#statements.records.all(afterRef, limit).map((row) => this.#toStoredRecord(row))
    }
    try {
      return db.transaction(read)()
    } catch (error) {
      // A transaction that has met damage does not end well, even where all that was asked for has been answered.
      if (!isCorrupt(toStoreError(error, filename))) throw error
      return read()
    }
  }

  async countStrayRows(collection: string): Promise<number> {
    return this.#core.db.transaction(() => {
      const rows = this.#core.tables?.countAll(collection) ?? 0
      const records = this.#statements.countRecordsOf.get(this.#core.collections.find(collection) ?? -1) ?? 0
      return Math.max(0, rows - records)
    })()
  }

  #firstIndexed(fieldId: number): StoredTrackedField['firstIndexed'] {
    const row = this.#statements.firstIndexed.get(fieldId)
    if (row === undefined || isDamaged(row)) return null
    const [deliverySequence, , , , collection, , scope] = row
    const name = this.#nameOf(collection)
    return name === null
      ? null
      : { deliverySequence, collection: name, scopeChanges: parseScopeChanges(scope) }
  }

  #nameOf(collection: number): string | null {
    try {
      return this.#core.collections.nameOf(collection)
    } catch {
      return null
    }
  }

  #toStoredRecord([ref, collection, recordId, state]: RecordColumns): StoredRecordRow | UnreadableRecord {
    const named = this.#readIfSound(
      () => ({ collection: this.#core.collections.nameOf(collection), recordId: decodeRecordId(recordId) }),
      null,
    )
    if (named === null) return { ref, isUnreadable: true }
    return {
      ref,
      ...named,
      state: typeof state !== 'string' ? NO_STATE : state === AS_INSERTED ? null : state,
      history: this.#readIfSound(() => this.#historyOf(ref), null),
      shown: this.#readIfSound(() => this.#findShown(named), 'unreadable'),
    }
  }

  #historyOf(ref: number): readonly Operation[] {
    const operations = this.#core.log.operationsOfRecord(ref)
    const [first] = operations
    return first === undefined ? [] : [...operations, ...this.#core.log.dropped.tracesOf(first, ref)]
  }

  #findShown({ collection, recordId }: { collection: string; recordId: string }): MaterializedRecord | null {
    const hasTable = ownValue(this.schema?.collections ?? {}, collection) !== undefined
    if (!hasTable || this.unfinished.has(collection)) return null
    return this.#core.tables?.findAny(collection, recordId) ?? null
  }

  #readIfSound<Value, Damaged>(read: () => Value, damaged: Damaged): Value | Damaged {
    try {
      return read()
    } catch (error) {
      if (isCorrupt(toStoreError(error, this.#core.filename))) return damaged
      throw error
    }
  }

  #toStoredRow(row: TimedEntryRow): StoredRow | UnreadableRow {
    const [seq, node, sequenceNumber, record, collection, kind, , wireJson, , wallTime] = row
    try {
      const operationId = operationIdOf(wireJson)
      const name = this.#core.collections.nameOf(collection)
      return {
        deliverySequence: seq,
        kind: kind === KIND_OPERATION ? 'operation' : 'snapshot',
        nodeId: this.#core.nodeNames.nameOf(node),
        sequenceNumber,
        wallTime,
        collection: name,
        recordId: this.#statements.hasRecord.get(record) === undefined ? null : recordIdOf(wireJson),
        wireJson,
        hasOtherId: !this.#isFoundById(seq, operationId),
        checksum: isDamaged(row) ? 'differs' : 'fits',
        isMissingInIndex: !isDamaged(row) && this.#isMissingInIndex(row, name),
      }
    } catch {
      return { deliverySequence: seq, isUnreadable: true }
    }
  }

  /** True for the newest ids, which are not indexed yet. @see OperationIds */
  #isFoundById(seq: number, operationId: string): boolean {
    if (seq > this.#core.meta.getNumber('ids_indexed_through')) return true
    return this.#statements.byId.get(operationIdKey(operationId), seq) !== undefined
  }

  #isMissingInIndex([seq, node, sequenceNumber, , , , scope]: TimedEntryRow, collection: string): boolean {
    const tracked = [...this.#core.tracked.of(collection)].filter(({ isReady }) => isReady)
    const expected = indexRowsOf({ collection, scopeChanges: parseScopeChanges(scope) }, tracked)
    const { scope: scopes, nodeRuns } = this.#core.log
    return (
      !nodeRuns.has(node, sequenceNumber, seq) ||
      expected.some(({ id: fieldId, key }) => !scopes.has({ fieldId, key }, seq))
    )
  }
}

function prepareStatements({ db, log }: SqliteCore) {
  return {
    rows: db
      .prepare<[number, number, number], TimedEntryRow>(
        `SELECT ${ENTRY_COLUMNS}, wall_time FROM _kora_operations
          WHERE seq > ? AND seq <= ? ORDER BY seq ${LIMIT}`,
      )
      .raw(),
    tracked: db
      .prepare<[], [id: number, collection: number, field: string | null]>(
        'SELECT id, collection, field FROM _kora_tracked ORDER BY id',
      )
      .raw(),
    firstIndexed: db
      .prepare<[number], EntryRow>(
        `SELECT ${ENTRY_COLUMNS} FROM _kora_operations
          WHERE seq = (SELECT seq FROM _kora_scope WHERE field = ? ${FIRST})`,
      )
      .raw(),
    countRecords: db.prepare<[], number>('SELECT count(*) FROM _kora_records').pluck(),
    countRecordsOf: db
      .prepare<[number], number>('SELECT count(*) FROM _kora_records WHERE collection = ?')
      .pluck(),
    records: db
      .prepare<[number, number], RecordColumns>(
        `SELECT id, collection, record_id, state FROM _kora_records WHERE id > ? ORDER BY id ${LIMIT}`,
      )
      .raw(),
    hasRecord: db.prepare<[number], unknown>('SELECT 1 FROM _kora_records WHERE id = ?'),
    byId: db.prepare<[number, number], number>(
      'SELECT 1 FROM _kora_operation_ids WHERE id_key = ? AND seq = ?',
    ),
    // A chosen node id of the server continues its numbers after a restore. Operations of guests are stored under
    // the node.
    claimsAhead: db
      .prepare<[string], [entry: string, claimed: number, stored: number]>(
        `SELECT node_id, max_sequence, stored FROM (
            SELECT c.node_id, c.max_sequence,
              max(
                (SELECT coalesce(max(r.sequence_number + r.count - 1), 0)
                  FROM (${log.nodeRuns.runs}) r JOIN _kora_operations o ON o.seq = r.seq + r.count - 1
                  WHERE r.node = n.id AND o.node = n.id),
                (SELECT coalesce(max(sequence_number), 0) FROM _kora_dropped d WHERE d.node = n.id)
              ) AS stored,
              (SELECT CAST(value AS INTEGER) FROM _kora_meta WHERE key = '${INHERITED_CLAIM}' || c.node_id) AS inherited
            FROM _kora_nodes c LEFT JOIN _kora_nodes n ON n.node_id = ${nodeOfEntrySql('c.node_id')}
            WHERE c.max_sequence > 0 AND c.node_id NOT IN (SELECT value FROM json_each(?))
          ) WHERE max_sequence > max(stored, coalesce(inherited, 0))`,
      )
      .raw(),
  }
}
