import type { Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { nodeOfEntry } from '../../core/version-vector.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import { possibleDroppedIdsOf } from '../append/dropped-ids.ts'
import type {
  FoundRecord,
  Loaded,
  LoadRequest,
  RecordLookup,
  SoughtOperation,
  StoredRecord,
} from '../append/load.ts'
import { type LogCounters, type LogRow, numberEntries } from '../append/number-entries.ts'
import type { AppendPlan } from '../append/plan-append.ts'
import { RecordMap } from '../append/record-map.ts'
import { notesOf, purgedState, type RecordCompaction } from '../compaction/plan-record.ts'
import type { IndexKey } from '../delivery/plan-streams.ts'
import type { LogSource } from '../delivery/read-page.ts'
import { indexRowsOf, TrackedFields } from '../delivery/tracked-fields.ts'
import { rulesOf } from '../integrity/integrity-rules.ts'
import { LiveIndex } from '../integrity/live-index.ts'
import type { AppendResult, LogEntry } from '../store.ts'
import { firstIndexAbove } from './first-index.ts'
import type { MemoryBlobs } from './memory-blobs.ts'
import { MemoryDropped } from './memory-dropped.ts'

/** A record with the positions of its entries in the log, including snapshots. */
export interface MemoryRecord {
  readonly ref: number
  readonly collection: string
  readonly recordId: string
  state: RecordState
  sequences: number[]
}

/** The last number of the server's node, shared by all its logs, even one that will replace another. */
export interface ServerNumbers {
  last: number
}

/**
 * The log and the records in maps, as the tables of a database have them. The work of an append does not grow with
 * what is stored.
 */
export class MemoryLog implements LogSource {
  readonly tracked = new TrackedFields()
  readonly dropped = new MemoryDropped()
  readonly vector = new Map<string, number>()
  readonly blobs: MemoryBlobs
  /** Node id → the highest sequence number of the node or any of its guests. */
  readonly #maxSequences = new Map<string, number>()
  /** The node that the server writes as. */
  readonly serverNodeId: string
  readonly serverNumbers: ServerNumbers
  /** The delivery sequence before the first entry. */
  readonly #base: number
  /** By delivery sequence; null where an entry was dropped. */
  readonly #entries: (LogEntry | null)[] = []
  readonly #wireJsonById = new Map<string, string>()
  readonly #records: MemoryRecord[] = []
  readonly #recordsByKey = new RecordMap<MemoryRecord>()
  readonly #recordsByCollection = new Map<string, MemoryRecord[]>()
  readonly #sequencesByNode = new Map<string, number[]>()
  readonly #writeResults = new Map<string, string>()
  readonly #live = new LiveIndex<MemoryRecord>()
  readonly #index = new Map<number, Map<string, number[]>>()
  #schema: SchemaDefinition | null = null
  #operationCount = 0

  /** @param base the delivery sequence before the first entry */
  constructor(
    serverNodeId: string,
    blobs: MemoryBlobs,
    { base = 0, serverNumbers = { last: 0 } }: { base?: number; serverNumbers?: ServerNumbers } = {},
  ) {
    this.serverNodeId = serverNodeId
    this.serverNumbers = serverNumbers
    this.blobs = blobs
    this.#base = base
  }

  get end(): number {
    return this.#base + this.#entries.length
  }

  get hasEntries(): boolean {
    return this.#entries.length > 0
  }

  get counters(): LogCounters {
    return { deliverySequence: this.end, serverSequence: this.serverNumbers.last }
  }

  /** Operations of clients and side effects, without snapshots. */
  get operationCount(): number {
    return this.#operationCount
  }

  load(request: LoadRequest): Loaded {
    const operations = new Map<string, string>()
    const dropped = new Map<string, number>()
    for (const sought of request.operations) {
      const { id } = sought.operation
      const wireJson = this.#wireJsonById.get(id)
      if (wireJson !== undefined) operations.set(id, wireJson)
      else if (this.dropped.count > 0) this.#findDropped(sought, dropped)
    }
    const records = new RecordMap<StoredRecord>()
    for (const key of request.records) {
      const record = this.#recordsByKey.get(key)
      if (record !== undefined) records.set(key, record)
    }
    const histories = new RecordMap<readonly Operation[]>()
    for (const key of request.histories) {
      const record = this.#recordsByKey.get(key)
      if (record !== undefined) histories.set(key, this.historyOf(record))
    }
    const writeResults = new Map<string, string>()
    for (const key of request.writeKeys ?? []) {
      const result = this.#writeResults.get(key)
      if (result !== undefined) writeResults.set(key, result)
    }
    const vector = new Map((request.vectorEntries ?? []).map((entry) => [entry, this.vector.get(entry) ?? 0]))
    const references = (request.references ?? []).map((key) => this.#recordsByKey.get(key)?.state ?? null)
    const lookups = (request.lookups ?? []).map((lookup) => this.#find(lookup))
    return { operations, dropped, records, histories, writeResults, vector, references, lookups }
  }

  #findDropped(sought: SoughtOperation, found: Map<string, number>): void {
    for (const id of possibleDroppedIdsOf(sought)) {
      const sequenceNumber = this.dropped.sequenceOf(id)
      if (sequenceNumber !== undefined) found.set(id, sequenceNumber)
    }
  }

  #find({ index, values, limit }: RecordLookup): FoundRecord[] {
    const found: FoundRecord[] = []
    for (const record of this.#live.find(index, index.keyOfValues(values))) {
      if (found.push(record) >= limit) break
    }
    return found
  }

  commit(plan: AppendPlan): readonly AppendResult[] {
    const before = this.counters
    const { rows, results, counters } = numberEntries(plan, before)
    for (const record of plan.records) this.#writeRecord(record)
    for (const row of rows) this.#writeRow(row)
    for (const [key, result] of plan.writeResults ?? []) this.#writeResults.set(key, result)
    for (const [nodeId, sequenceNumber] of plan.vector) this.advance(nodeId, sequenceNumber)
    if (counters.serverSequence > before.serverSequence) {
      this.advance(this.serverNodeId, counters.serverSequence)
    }
    return results
  }

  advance(entry: string, sequenceNumber: number): void {
    if (sequenceNumber > (this.vector.get(entry) ?? 0)) this.vector.set(entry, sequenceNumber)
    if (entry === this.serverNodeId)
      this.serverNumbers.last = Math.max(this.serverNumbers.last, sequenceNumber)
    const nodeId = nodeOfEntry(entry)
    if (sequenceNumber > this.maxSequenceOf(nodeId)) this.#maxSequences.set(nodeId, sequenceNumber)
  }

  /** The highest stored number of a node, whoever has sent it; 0 for none. */
  maxSequenceOf(nodeId: string): number {
    return this.#maxSequences.get(nodeId) ?? 0
  }

  // ── reading ────────────────────────────────────────────────────────────────────────────────

  holds(operationId: string): boolean {
    return this.#wireJsonById.has(operationId)
  }

  record(collection: string, recordId: string): MemoryRecord | undefined {
    return this.#recordsByKey.get({ collection, recordId })
  }

  /** In the order of their first operation, both live and deleted. */
  recordsOf(collection: string): readonly MemoryRecord[] {
    return this.#recordsByCollection.get(collection) ?? []
  }

  /** The live records, in the order of their ids. */
  liveRecords(collection: string): MemoryRecord[] {
    return this.recordsOf(collection)
      .filter(({ state }) => !state.isDeleted)
      .sort((a, b) => Buffer.compare(Buffer.from(a.recordId), Buffer.from(b.recordId)))
  }

  collections(): Iterable<string> {
    return this.#recordsByCollection.keys()
  }

  /** The record's operations in commit order, without snapshots. */
  operationsOf(record: MemoryRecord): Operation[] {
    return this.readEntries(record.sequences).filter(isOperation).map(operationOf)
  }

  /** The history that a replay folds: the operations, and traces of dropped ones. */
  historyOf(record: MemoryRecord): Operation[] {
    return [...this.operationsOf(record), ...this.dropped.tracesOf(record)]
  }

  /** Records by number. */
  recordsAfter(ref: number, limit: number): readonly MemoryRecord[] {
    return this.#records.slice(ref, ref + limit)
  }

  get recordCount(): number {
    return this.#records.length
  }

  entriesOfNode(nodeId: string): LogEntry[] {
    return this.readEntries(this.#sequencesByNode.get(nodeId) ?? [])
  }

  /** The operations of one node between these numbers, both included, in order. */
  operationsOfNode(nodeId: string, fromSequence: number, toSequence: number): Operation[] {
    return this.entriesOfNode(nodeId)
      .filter((entry) => entry.sequenceNumber >= fromSequence && entry.sequenceNumber <= toSequence)
      .sort((a, b) => a.sequenceNumber - b.sequenceNumber || a.deliverySequence - b.deliverySequence)
      .map(operationOf)
  }

  /** Entries of operations above `after`, in delivery order. */
  operationsAfter(after: number, limit: number): LogEntry[] {
    const found: LogEntry[] = []
    for (let position = after; found.length < limit; ) {
      const entries = this.scanEntries(position, limit)
      const last = entries.at(-1)
      if (last === undefined) break
      found.push(...entries.filter(isOperation).slice(0, limit - found.length))
      position = last.deliverySequence
    }
    return found
  }

  readSequences(key: IndexKey, after: number, limit: number): readonly number[] {
    const sequences = this.#index.get(key.fieldId)?.get(key.key) ?? []
    const start = firstIndexAbove(sequences, (sequence) => sequence > after)
    return sequences.slice(start, start + limit)
  }

  readEntries(sequences: readonly number[]): LogEntry[] {
    return sequences.flatMap((sequence) => this.#entries[sequence - this.#base - 1] ?? [])
  }

  scanEntries(after: number, limit: number): LogEntry[] {
    const found: LogEntry[] = []
    for (let at = Math.max(0, after - this.#base); at < this.#entries.length && found.length < limit; at++) {
      const entry = this.#entries[at]
      if (entry) found.push(entry)
    }
    return found
  }

  // ── indexing ───────────────────────────────────────────────────────────────────────────────

  /** Replaces the scope changes of an entry. */
  replaceScopeChanges(deliverySequence: number, scopeChanges: LogEntry['scopeChanges']): void {
    const position = deliverySequence - this.#base - 1
    const entry = this.#entries[position]
    if (entry) this.#entries[position] = { ...entry, scopeChanges }
  }

  /** Builds the index for lookups by the rules of the schema. Repeated when states were replaced. */
  indexLive(schema: SchemaDefinition | null): void {
    this.#schema = schema
    this.#live.clear()
    for (const record of this.#records) {
      this.#live.replace(record, rulesOf(schema, record.collection)?.indexes ?? [], null, record.state)
    }
  }

  /** Builds the index of one tracked field from the whole log. */
  reindex(fieldId: number): void {
    const tracked = this.tracked.all().filter(({ id }) => id === fieldId)
    this.#index.set(fieldId, new Map())
    for (const entry of this.#entries) {
      if (entry !== null && entry.collection === tracked[0]?.collection) this.#indexEntry(entry, tracked)
    }
  }

  // ── writing ────────────────────────────────────────────────────────────────────────────────

  /** Drops entries of a record from the log, or the whole record. */
  drop(record: MemoryRecord, plan: RecordCompaction): void {
    const { dropped, isPurged } = plan
    if (dropped.length === 0) return
    const { collection } = record
    const sequences = new Set(dropped.map(({ deliverySequence }) => deliverySequence))
    const isKept = (sequence: number): boolean => !sequences.has(sequence)
    if (isPurged) this.dropped.purge(record)
    for (const { deliverySequence, operationId, kind } of dropped) {
      const position = deliverySequence - this.#base - 1
      const wireJson = this.#entries[position]?.wireJson
      this.#entries[position] = null
      // If not, another operation has this id, and it is the rightful one.
      if (this.#wireJsonById.get(operationId) === wireJson) this.#wireJsonById.delete(operationId)
      if (kind === 'operation') this.#operationCount--
    }
    for (const note of notesOf(plan)) this.dropped.add(note)
    record.sequences = record.sequences.filter(isKept)
    const places = new Map(
      dropped.flatMap((entry) =>
        indexRowsOf(entry, this.tracked.of(collection)).map((row) => [`${row.id} ${row.key}`, row]),
      ),
    )
    for (const { id, key } of places.values()) {
      const listed = this.#index.get(id)
      listed?.set(key, (listed.get(key) ?? []).filter(isKept))
    }
    for (const nodeId of new Set(dropped.map((entry) => entry.nodeId))) {
      this.#sequencesByNode.set(nodeId, (this.#sequencesByNode.get(nodeId) ?? []).filter(isKept))
    }
    if (isPurged) record.state = purgedState(record.state)
  }

  #writeRecord(planned: PlannedRecord): void {
    if (planned.state === null) return
    const { collection, recordId, state } = planned
    const indexes = rulesOf(this.#schema, collection)?.indexes ?? []
    const known = this.#recordsByKey.get(planned)
    if (known !== undefined) {
      this.#live.replace(known, indexes, known.state, state)
      known.state = state
      return
    }
    const record: MemoryRecord = { ref: this.#records.length + 1, collection, recordId, state, sequences: [] }
    this.#live.replace(record, indexes, null, state)
    this.#records.push(record)
    this.#recordsByKey.set(record, record)
    appendTo(this.#recordsByCollection, collection, record)
  }

  #writeRow(row: LogRow): void {
    const { entry } = row
    this.blobs.noteRefs(row)
    this.#entries.push(entry)
    this.#wireJsonById.set(entry.operationId, entry.wireJson)
    this.record(entry.collection, entry.recordId)?.sequences.push(entry.deliverySequence)
    if (isOperation(entry)) {
      this.#operationCount++
      appendTo(this.#sequencesByNode, entry.nodeId, entry.deliverySequence)
    }
    this.#indexEntry(entry, this.tracked.of(entry.collection))
  }

  #indexEntry(entry: LogEntry, tracked: Parameters<typeof indexRowsOf>[1]): void {
    for (const { id, key } of indexRowsOf(entry, tracked)) {
      let sequencesByKey = this.#index.get(id)
      if (sequencesByKey === undefined) {
        sequencesByKey = new Map()
        this.#index.set(id, sequencesByKey)
      }
      appendTo(sequencesByKey, key, entry.deliverySequence)
    }
  }
}

/** True for an entry of an operation, false for a snapshot. */
export function isOperation(entry: LogEntry): boolean {
  return entry.kind === 'operation'
}

export function operationOf(entry: LogEntry): Operation {
  return operationOfWireJson(entry.wireJson)
}

function appendTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}
