import { StoreError } from '../../core/errors.ts'
import type { Operation } from '../../core/operation.ts'
import { parseRecordState, serializeRecordState } from '../../core/record/codec.ts'
import { foldOperation } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import type { RecordKey, StoredRecord } from '../append/load.ts'
import { BulkInsert } from './bulk-insert.ts'
import type { SqliteDatabase } from './driver.ts'
import type { NameTable } from './name-table.ts'
import { decodeRecordId, encodeRecordId } from './record-id.ts'

/**
 * Stands for the state of a record that has had one insert and nothing else, as most have: the state would repeat
 * the row of the log, and be a tenth of what is written for an operation.
 */
export const AS_INSERTED = ''

/** What the table needs from its log. */
export interface RecordLog {
  /** The record's operations in commit order, and the length of what was read for them. */
  readOperations(ref: number): { readonly operations: readonly Operation[]; readonly length: number }
}

/** A record, with the number of characters that were read for it. */
export interface ReadRecord extends StoredRecord {
  readonly length: number
}

/** Rows of `_kora_records`: the state that each record's operations have led to. */
export class RecordTable {
  readonly #collections: NameTable
  readonly #log: RecordLog
  readonly #statements: ReturnType<typeof prepareStatements>
  readonly #newRecords: BulkInsert

  constructor(db: SqliteDatabase, collections: NameTable, log: RecordLog) {
    this.#collections = collections
    this.#log = log
    this.#statements = prepareStatements(db)
    this.#newRecords = new BulkInsert(db, '_kora_records', ['id', 'collection', 'record_id', 'state'])
  }

  /** @throws StoreError `STORE_CORRUPT` */
  find(key: RecordKey): ReadRecord | undefined {
    const row = this.findRow(key)
    if (row === undefined) return undefined
    const [ref, stored] = row
    return stored === AS_INSERTED
      ? { ref, ...this.#readInserted(ref) }
      : { ref, state: parseRecordState(stored), length: stored.length }
  }

  /** Finds the record's number and the column that `stateOf` parses. */
  findRow({ collection, recordId }: RecordKey): [ref: number, stored: string] | undefined {
    const collectionId = this.#collections.find(collection)
    if (collectionId === undefined) return undefined
    return this.#statements.find.get(collectionId, encodeRecordId(recordId))
  }

  /**
   * The state of a record from its column.
   *
   * @throws StoreError `STORE_CORRUPT`
   */
  stateOf(ref: number, stored: string): RecordState {
    return stored === AS_INSERTED ? this.#readInserted(ref).state : parseRecordState(stored)
  }

  #readInserted(ref: number): Pick<ReadRecord, 'state' | 'length'> {
    const { operations, length } = this.#log.readOperations(ref)
    const [insert, ...others] = operations
    if (insert === undefined || others.length > 0) throw lostState(ref)
    return { state: foldOperation(null, insert, null), length }
  }

  /** The records of a collection that are not deleted, in the order of their ids. */
  live(collection: string): { recordId: string; state: RecordState }[] {
    return this.#statements.ofCollection
      .all(this.#collections.find(collection) ?? -1)
      .map(([ref, recordId, state]) => ({
        recordId: decodeRecordId(recordId),
        state: this.stateOf(ref, state),
      }))
      .filter(({ state }) => !state.isDeleted)
      .sort((a, b) => Buffer.compare(Buffer.from(a.recordId), Buffer.from(b.recordId)))
  }

  /** Counts the records of all collections, deleted ones too. */
  count(): number {
    return this.#statements.count.get() ?? 0
  }

  /** Writes the state of a changed record. A new record, without a number yet, is written by `add`. */
  update({ ref, state }: Pick<PlannedRecord, 'ref' | 'state'>): void {
    if (ref !== null && state !== null) this.#statements.update.run(serializeRecordState(state), ref)
  }

  /**
   * Adds a record; it is in the table after `flush` at the latest.
   *
   * @param ref the delivery sequence of its first entry, which becomes its number
   * @returns that number
   */
  add({ collection, recordId, state, applied }: PlannedRecord, ref: number): number {
    if (state === null) throw new Error(`The record ${recordId} of an entry has no state`) // always made by then
    const isAsInserted = applied.length === 1 && applied[0]?.type === 'insert'
    this.#newRecords.add([
      ref,
      this.#collections.intern(collection),
      encodeRecordId(recordId),
      isAsInserted ? AS_INSERTED : serializeRecordState(state),
    ])
    return ref
  }

  /** Writes the pending records together. */
  flush(): void {
    this.#newRecords.flush()
  }

  /** After a rollback: pending records are not in the log. */
  discardUnwritten(): void {
    this.#newRecords.discard()
  }
}

function lostState(ref: number): StoreError {
  return new StoreError(
    'STORE_CORRUPT',
    `Record ${ref} of _kora_records is not the one insert that it should be. See "kora-server check --deep"; restore a backup.`,
  )
}

function prepareStatements(db: SqliteDatabase) {
  return {
    find: db
      .prepare<[number, Buffer | string], [number, string]>(
        'SELECT id, state FROM _kora_records WHERE collection = ? AND record_id = ?',
      )
      .raw(),
    ofCollection: db
      .prepare<[number], [number, Buffer | string, string]>(
        'SELECT id, record_id, state FROM _kora_records WHERE collection = ?',
      )
      .raw(),
    count: db.prepare<[], number>('SELECT count(*) FROM _kora_records').pluck(),
    update: db.prepare('UPDATE _kora_records SET state = ? WHERE id = ?'),
  }
}
