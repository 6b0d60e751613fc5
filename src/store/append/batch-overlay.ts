import type { Operation } from '../../core/operation.ts'
import type { FoldedHistory } from '../../core/record/folded-history.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { ScopeChanges } from '../../core/view.ts'
import { operationToWireJson } from '../../protocol/parse-operation.ts'
import type { AppendResult } from '../store.ts'
import type { Loaded, RecordKey, StoredRecord } from './load.ts'
import { RecordMap } from './record-map.ts'

/** One record as the batch has left it so far. */
export interface PlannedRecord {
  readonly collection: string
  readonly recordId: string
  /** The store's own number; null until the record is written for the first time. */
  ref: number | null
  /** null: no operation of it is stored, nor applied in this batch. */
  state: RecordState | null
  /** True once the batch changed it. */
  isChanged: boolean
  /** What the batch applied to it, in order: the end of its history. */
  applied: Operation[]
  /** What was stored before the batch, once a replay has asked for it, with what was applied until the last. */
  history: FoldedHistory | null
}

/** A row of the log that the batch adds, before it has its place there. */
export interface PlannedEntry {
  readonly kind: 'operation' | 'snapshot'
  /** Authored by the server: its sequence number is given, and its wire JSON made, on commit. */
  readonly operation: Operation
  readonly wireJson: string | null
  readonly record: PlannedRecord
  /** The blobs and manifests that the record has not referred to before. */
  readonly blobRefs: readonly string[]
  /** The entry of the vector that is the author's; null when the author has not proved to be anybody, or is the server. */
  readonly author: string | null
  readonly scopeChanges: ScopeChanges
}

export type PlannedResult =
  /** Its entries stand together in the plan: its own, then what the server authored because of it. */
  | { readonly status: 'applied'; readonly firstEntry: number; readonly entryCount: number }
  | Exclude<AppendResult, { status: 'applied' }>

/** What the batch has changed so far, laid over what the store holds. */
export class BatchOverlay {
  readonly records: PlannedRecord[] = []
  readonly entries: PlannedEntry[] = []
  readonly vector = new Map<string, number>()
  /** How many of the entries the rules of the schema have led to. */
  sideEffectCount = 0
  /** About the bytes of the values that were merged, also for operations that were then refused. */
  mergedBytes = 0
  /** Ids that may have been taken by an operation which they do not belong to, until now. */
  readonly reclaimedIds = new Set<string>()
  /** By hash of the write's key. */
  readonly writeResults = new Map<string, string>()
  readonly #recordsByKey = new RecordMap<PlannedRecord>()
  readonly #appliedById = new Map<string, PlannedEntry>()
  #loaded: Loaded

  constructor(loaded: Loaded) {
    this.#loaded = loaded
  }

  /** Wire JSON of an operation that is stored or was applied by this batch. */
  findOperation(operationId: string): string | undefined {
    const applied = this.#appliedById.get(operationId)
    if (applied === undefined) return this.#loaded.operations.get(operationId)
    return applied.wireJson ?? operationToWireJson(applied.operation)
  }

  /** False, as nearly always, when nothing that may be one of the batch was dropped. */
  get hasDropped(): boolean {
    return this.#loaded.dropped.size > 0
  }

  /** Sequence number of an operation that was stored and dropped since. @see dropped-ids.ts */
  findDropped(droppedId: string): number | undefined {
    return this.#loaded.dropped.get(droppedId)
  }

  /** What became of the write with this key, stored or in this batch. */
  findWriteResult(keyHash: string): string | undefined {
    return this.writeResults.get(keyHash) ?? this.#loaded.writeResults.get(keyHash)
  }

  /** The record as this batch has left it. It must have been asked for in a load request. */
  record(key: RecordKey): PlannedRecord {
    return this.#recordsByKey.get(key) ?? this.#addRecord(key, this.#loaded.records.get(key))
  }

  /** True when the record is known here: `record` may be asked for it. */
  knows(key: RecordKey): boolean {
    return this.#recordsByKey.has(key)
  }

  /** The record, as stored if the batch has not come across it before. undefined: there is none. */
  recordFrom(key: RecordKey, stored: StoredRecord | undefined): PlannedRecord {
    return this.#recordsByKey.get(key) ?? this.#addRecord(key, stored)
  }

  #addRecord(key: RecordKey, stored: StoredRecord | undefined): PlannedRecord {
    const record = plannedRecord(key, stored)
    this.#recordsByKey.set(key, record)
    return record
  }

  /** Adds an operation and the state that it leaves its record in. */
  apply(entry: PlannedEntry, state: RecordState): void {
    const { record } = entry
    if (!record.isChanged) this.records.push(record)
    record.isChanged = true
    record.state = state
    // Most records have one; pushed onto an empty list it would take room for seventeen.
    if (record.applied.length === 0) record.applied = [entry.operation]
    else record.applied.push(entry.operation)
    this.entries.push(entry)
    this.#noteId(entry)
  }

  /**
   * Nothing is applied under an id that is known, but what the id belongs to (see planStoredId). The ids
   * of what the server authors are not asked for, and clients may have known some of them in advance.
   */
  #noteId(entry: PlannedEntry): void {
    const { id } = entry.operation
    if (entry.wireJson === null || this.findOperation(id) !== undefined) this.reclaimedIds.add(id)
    this.#appliedById.set(id, entry)
  }

  /** Moves an entry of the version vector up to the sequence number. */
  advance(entry: string, sequenceNumber: number): void {
    if (sequenceNumber > (this.vector.get(entry) ?? 0)) {
      this.vector.set(entry, sequenceNumber)
    }
  }

  /** The same by one, where that is the next number. The entry must have been asked for in the first load request. */
  advanceInTurn(entry: string, sequenceNumber: number): void {
    const present = Math.max(this.vector.get(entry) ?? 0, this.#loaded.vector.get(entry) ?? 0)
    if (sequenceNumber === present + 1) this.vector.set(entry, sequenceNumber)
  }
}

function plannedRecord({ collection, recordId }: RecordKey, stored: StoredRecord | undefined): PlannedRecord {
  return {
    collection,
    recordId,
    ref: stored?.ref ?? null,
    state: stored?.state ?? null,
    isChanged: false,
    applied: [],
    history: null,
  }
}
