import type { Operation } from '../../core/operation.ts'
import { parseRecordState } from '../../core/record/codec.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import { unprovenIdOf } from '../append/dropped-ids.ts'
import type {
  FoundRecord,
  Loaded,
  LoadRequest,
  RecordKey,
  RecordLookup,
  SoughtOperation,
  StoredRecord,
} from '../append/load.ts'
import { type ReadonlyRecordMap, RecordMap } from '../append/record-map.ts'
import { parseStoredOperation } from '../damage/corrupt.ts'
import { byteas, integers, texts } from './array-parameters.ts'
import type { CollectionTables } from './collection-tables.ts'
import type { Transaction } from './database.ts'
import { readTraces } from './postgres-dropped.ts'
import { encodeRecordId } from './record-id.ts'
import { ValueLocks } from './value-locks.ts'

const FIND_RECORDS = `
  SELECT k.position, r.id, r.state
  FROM unnest($1::integer[], $2::bytea[]) WITH ORDINALITY AS k (collection, record_id, position)
  JOIN {records} r ON r.collection = k.collection AND r.record_id = k.record_id`

const LOCK_RECORDS = `${FIND_RECORDS}
  ORDER BY r.id
  FOR NO KEY UPDATE OF r`

// Locks all of the records, always in the same order. A large state is stored outside of its table, and read only
// if it is returned.
const LOCK_RECORDS_WITHIN = `
  SELECT measured.position, measured.id, CASE WHEN measured.bytes_before < $3 THEN measured.state END
  FROM (
    SELECT locked.*, sum(octet_length(locked.state)) OVER (ORDER BY locked.position) - octet_length(locked.state) AS bytes_before
    FROM (${LOCK_RECORDS}) AS locked
  ) AS measured
  ORDER BY measured.position`

// The size of a table shows whether it ever had a row, even if many were deleted since.
const FIND_OPERATIONS = `
  SELECT c.epoch, pg_relation_size($kora$ {dropped} $kora$) > 0, o.id, o.wire_json, o.dropped
  FROM {counters} c LEFT JOIN LATERAL (
    SELECT id, wire_json, NULL::bigint AS dropped FROM {operations} WHERE kind = 0 AND id = ANY ($1::bytea[])
    UNION ALL
    SELECT id, wire_json, NULL FROM {operations} WHERE kind = 1 AND id = ANY ($1::bytea[])
    UNION ALL
    SELECT id, NULL, sequence_number FROM {dropped} WHERE id = ANY ($1::bytea[])
  ) o ON true
  WHERE c.id = 1`

const FIND_DROPPED = 'SELECT id, sequence_number FROM {dropped} WHERE id = ANY ($1::bytea[])'

const HISTORIES = `
  SELECT record, wire_json, seq FROM {operations} WHERE record = ANY ($1::bigint[]) AND kind = 0 ORDER BY record, seq`

const WRITE_RESULTS = 'SELECT key, result FROM {write_results} WHERE key = ANY ($1::bytea[])'

const VECTOR_ENTRIES = 'SELECT node_id, max_sequence FROM {nodes} WHERE node_id = ANY ($1::text[])'

type FoundRecordRow = [position: number, id: number, state: string]

/** null: the state was left out. */
type LockedRecordRow = [position: number, id: number, state: string | null]

type FoundOperation = [
  epoch: number,
  isDroppedUsed: boolean,
  id: Buffer | null,
  wireJson: string | null,
  droppedSequence: number | null,
]

/** Knowledge shared by all appends of a process. */
export interface DroppedKnowledge {
  /** False as long as no server is known to have dropped anything: then an append need not ask. */
  isUsed: boolean
}

/** Answers the load requests of one append, inside of its transaction. */
export class AppendLoader {
  readonly #transaction: Transaction
  readonly #collectionIds: ReadonlyMap<string, number>
  readonly #tables: CollectionTables | null
  readonly #valueLocks: ValueLocks
  readonly #dropped: DroppedKnowledge
  readonly #refs = new RecordMap<number>()
  #epoch: number | null = null

  /** @param schema of the database */
  constructor(
    transaction: Transaction,
    options: {
      schema: string
      collectionIds: ReadonlyMap<string, number>
      tables: CollectionTables | null
      dropped: DroppedKnowledge
    },
  ) {
    this.#transaction = transaction
    this.#collectionIds = options.collectionIds
    this.#tables = options.tables
    this.#valueLocks = new ValueLocks(transaction, options.schema)
    this.#dropped = options.dropped
  }

  /** Epoch of the shared settings when the operations were looked up; null before that. */
  get epoch(): number | null {
    return this.#epoch
  }

  /**
   * Locks the records before it looks up the operations: a statement sees what was committed when it began, so it
   * sees the operations of the previous holder of the lock.
   */
  async load(request: LoadRequest): Promise<Loaded> {
    // Sent together and answered in this order.
    const [records, { operations, dropped }, writeResults, vector, references] = await Promise.all([
      this.#lockRecords(request.records, request.maxRecordBytes),
      this.#findOperations(request.operations),
      this.#findWriteResults(request.writeKeys ?? []),
      this.#readVector(request.vectorEntries ?? []),
      this.#readReferences(request.references ?? []),
    ])
    const histories = await this.#readHistories(request.histories)
    const lookups = await this.#find(request.lookups ?? [])
    return { operations, dropped, ...records, histories, writeResults, vector, references, lookups }
  }

  async #findWriteResults(keys: readonly string[]): Promise<Map<string, string>> {
    if (keys.length === 0) return new Map()
    const rows = await this.#transaction.prepared<[Buffer, string]>(WRITE_RESULTS, [
      keys.map((key) => Buffer.from(key, 'hex')),
    ])
    return new Map(rows.map(([key, result]) => [key.toString('hex'), result]))
  }

  async #readVector(entries: readonly string[]): Promise<VersionVector> {
    if (entries.length === 0) return new Map()
    return new Map(await this.#transaction.prepared<[string, number]>(VECTOR_ENTRIES, [texts(entries)]))
  }

  /** Locks the values before it looks them up, so that rivals for them come one after the other. */
  async #find(lookups: readonly RecordLookup[]): Promise<FoundRecord[][]> {
    if (lookups.length === 0) return []
    await this.#valueLocks.take(lookups)
    const ids = (await this.#tables?.findLive(this.#transaction, lookups)) ?? []
    const wanted = lookups.flatMap(({ index: { collection } }, position) =>
      (ids[position] ?? []).map((recordId) => ({ collection, recordId })),
    )
    const { records } = await this.#lockRecords(wanted)
    return lookups.map(({ index }, position) =>
      (ids[position] ?? []).flatMap((recordId) => {
        const record = records.get({ collection: index.collection, recordId })
        return record === undefined ? [] : [{ ...record, recordId }] // absent: the row is not ours
      }),
    )
  }

  async #lockRecords(
    keys: readonly RecordKey[],
    maxBytes?: number,
  ): Promise<Pick<Loaded, 'records' | 'firstLeftOut'>> {
    const records = new RecordMap<StoredRecord>()
    if (keys.length === 0) return { records }
    const names = this.#namesOf(keys)
    const rows = await (maxBytes === undefined
      ? this.#transaction.prepared<LockedRecordRow>(LOCK_RECORDS, names)
      : this.#transaction.prepared<LockedRecordRow>(LOCK_RECORDS_WITHIN, [...names, maxBytes]))
    for (const [position, ref, state] of rows) {
      const key = keys[position - 1]
      if (key === undefined) continue
      if (state === null) return { records, firstLeftOut: key }
      this.#refs.set(key, ref)
      records.set(key, { ref, state: parseRecordState(state) })
    }
    return { records }
  }

  async #readReferences(keys: readonly RecordKey[]): Promise<(RecordState | null)[]> {
    const states: (RecordState | null)[] = keys.map(() => null)
    if (keys.length === 0) return states
    const rows = await this.#transaction.prepared<FoundRecordRow>(FIND_RECORDS, this.#namesOf(keys))
    for (const [position, , state] of rows) states[position - 1] = parseRecordState(state)
    return states
  }

  #namesOf(keys: readonly RecordKey[]): Buffer[] {
    return [
      integers(keys.map(({ collection }) => this.#collectionIds.get(collection) ?? -1)),
      byteas(keys.map(({ recordId }) => encodeRecordId(recordId))),
    ]
  }

  async #findOperations(sought: readonly SoughtOperation[]): Promise<Pick<Loaded, 'operations' | 'dropped'>> {
    const operations = new Map<string, string>()
    const dropped = new Map<string, number>()
    if (sought.length === 0) return { operations, dropped }
    // Sent together, except the first time that dropped operations turn up.
    const [rows, early] = await Promise.all([
      this.#transaction.prepared<FoundOperation>(FIND_OPERATIONS, [
        byteas(sought.map(({ operation }) => Buffer.from(operation.id, 'hex'))),
      ]),
      this.#dropped.isUsed ? this.#findUnproven(sought) : null,
    ])
    for (const [epoch, isDroppedUsed, id, wireJson, droppedSequence] of rows) {
      this.#epoch = epoch
      if (isDroppedUsed) this.#dropped.isUsed = true
      if (id !== null && wireJson !== null) operations.set(id.toString('hex'), wireJson)
      if (id !== null && droppedSequence !== null) dropped.set(id.toString('hex'), droppedSequence)
    }
    const unproven = early ?? (this.#dropped.isUsed ? await this.#findUnproven(sought) : [])
    for (const [id, droppedSequence] of unproven) dropped.set(id.toString('hex'), droppedSequence)
    return { operations, dropped }
  }

  /** Finds operations that were noted under an id made from their content. @see dropped-ids.ts */
  async #findUnproven(sought: readonly SoughtOperation[]): Promise<[id: Buffer, sequenceNumber: number][]> {
    const unproven = sought.filter(({ isIdVerified }) => isIdVerified !== true)
    if (unproven.length === 0) return []
    return this.#transaction.prepared(FIND_DROPPED, [
      byteas(unproven.map(({ operation }) => Buffer.from(unprovenIdOf(operation), 'hex'))),
    ])
  }

  async #readHistories(keys: readonly RecordKey[]): Promise<ReadonlyRecordMap<readonly Operation[]>> {
    const histories = new RecordMap<Operation[]>()
    if (keys.length === 0) return histories
    const byRef = new Map<number, Operation[]>()
    for (const key of keys) {
      const ref = this.#refs.get(key)
      if (ref === undefined) continue
      const history = histories.get(key) ?? []
      histories.set(key, history)
      byRef.set(ref, history)
    }
    const refs = [...byRef.keys()]
    const rows = await this.#transaction.prepared<[ref: number, wireJson: string, seq: number]>(HISTORIES, [
      refs,
    ])
    for (const [ref, ...row] of rows) {
      byRef.get(ref)?.push(parseStoredOperation(...row))
    }
    for (const [ref, traces] of await readTraces(this.#transaction, refs)) byRef.get(ref)?.push(...traces)
    return histories
  }
}
