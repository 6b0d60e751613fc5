import { compareTimestamps } from '../../core/clock.ts'
import type { Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { droppedIdOf } from '../append/dropped-ids.ts'
import { parseStoredOperation } from '../damage/corrupt.ts'
import type { LogEntry } from '../store.ts'
import type { CompactionRules, DroppedCount, DroppedOperation } from './compaction.ts'
import { planCompaction } from './plan-compaction.ts'

/** Limits on records and rows of the log, because a step holds the writer of a store for some 20 ms. */
export const RECORDS_PER_STEP = 500
export const ROWS_PER_STEP = 2000
/** Bytes of states and of the rows that are read: a record with rich text may have many megabytes. */
export const BYTES_PER_STEP = 8 * 1024 * 1024
/** Only this many first rows of a record, and bytes, are examined; the next compaction gets further. */
export const MAX_ROWS_PER_RECORD = 20_000
export const MAX_BYTES_PER_RECORD = 16 * 1024 * 1024
/** A record with fewer rows than an insert and two updates has nothing superseded. */
const MIN_ROWS = 3

/** A record that a compaction considers. */
export interface CompactionCandidate {
  readonly ref: number
  readonly collection: string
  readonly recordId: string
  /** null: the record is one insert and nothing else. */
  readonly state: RecordState | null
  readonly rowCount: number
}

/** The first rows of a record in delivery order, up to `MAX_ROWS_PER_RECORD` and `MAX_BYTES_PER_RECORD`. */
export interface FirstRows {
  readonly entries: readonly LogEntry[]
  /** True when these are all of its rows. */
  readonly isWhole: boolean
}

/** A row that is dropped, without its content: for a large record, not all of that fits into memory. */
export interface DroppedRow extends Omit<LogEntry, 'wireJson'> {
  /** Bytes of its content. */
  readonly bytes: number
  /** The note that is kept of it; null for a snapshot. */
  readonly note: DroppedOperation | null
}

export interface RecordCompaction {
  readonly dropped: readonly DroppedRow[]
  /** True when nothing of the record is left. */
  readonly isPurged: boolean
}

export interface CompactionContext {
  readonly rules: CompactionRules
  /** The end of the log: the row there stays, so that no delivery sequence is given twice. */
  readonly end: number
  collection(name: string): CollectionDefinition | null
  /** False while a new scope field is being added to entries of the collection. */
  isSettled(collection: string): boolean
}

/** The first of these records that fit into one step, at least one. */
export function recordsOfStep<Candidate extends CompactionCandidate>(
  candidates: readonly Candidate[],
): readonly Candidate[] {
  let rows = 0
  const last = candidates.findIndex(({ rowCount }) => {
    rows += rowCount
    return rows >= ROWS_PER_STEP
  })
  return last === -1 ? candidates : candidates.slice(0, last + 1)
}

/**
 * The first of these records whose rows fit into the memory of one step, including at least one with rows.
 *
 * @param bytesOf of the rows that will be read
 */
export function recordsWithinBytes<Candidate>(
  records: readonly Candidate[],
  bytesOf: (record: Candidate) => number,
): readonly Candidate[] {
  let bytes = 0
  const end = records.findIndex((record) => {
    const before = bytes
    bytes += bytesOf(record)
    return before > 0 && bytes > BYTES_PER_STEP
  })
  return end === -1 ? records : records.slice(0, end)
}

/** True where reading the rows of a record may be worthwhile. */
export function mayCompact(candidate: CompactionCandidate, context: CompactionContext): boolean {
  const { collection, rowCount } = candidate
  if (rowCount === 0 || !context.isSettled(collection)) return false
  if (isForgettable(candidate, context)) return true
  return (
    context.rules.supersededBefore !== null &&
    rowCount >= MIN_ROWS &&
    context.collection(collection)?.constraints.length === 0
  )
}

/**
 * Plans what is dropped of a record: all of it if it can be purged and these are all of its rows, otherwise the
 * superseded ones.
 */
export function planRecord(
  candidate: CompactionCandidate,
  { entries, isWhole }: FirstRows,
  context: CompactionContext,
): RecordCompaction {
  const { end, rules } = context
  if (isWhole && isForgettable(candidate, context)) {
    const plan = planForgetting(entries.map(toForgottenRow), context)
    if (plan.isPurged) return plan
  }
  const collection = context.collection(candidate.collection)
  if (collection === null || rules.supersededBefore === null) return NOTHING
  const dropped = planCompaction(entries, { collection, writtenBefore: rules.supersededBefore })
  return {
    dropped: dropped
      .filter(({ entry }) => entry.deliverySequence < end)
      .map(({ entry, operation }) => toDroppedRow(entry, operation, operation.id)), // the id is proven for these
    isPurged: false,
  }
}

const NOTHING: RecordCompaction = { dropped: [], isPurged: false }

/** @param rows all rows of a record that can be purged, in delivery order */
export function planForgetting(
  rows: readonly DroppedRow[],
  { end, rules: { deletedThrough = end } }: Pick<CompactionContext, 'end' | 'rules'>,
): RecordCompaction {
  const last = rows.at(-1)?.deliverySequence
  if (last === undefined || last >= end || last > deletedThrough) return NOTHING
  return { dropped: rows, isPurged: true }
}

/** A row that is dropped together with its record. */
export function toForgottenRow(entry: LogEntry): DroppedRow {
  const operation = parseStoredOperation(entry.wireJson, entry.deliverySequence)
  return toDroppedRow(entry, operation, droppedIdOf(operation), true)
}

function toDroppedRow(
  { wireJson, ...entry }: LogEntry,
  { nodeId, sequenceNumber, collection, recordId, timestamp }: Operation,
  operationId: string,
  isPurged = false,
): DroppedRow {
  const { wallTime, logical } = timestamp
  const note = { operationId, nodeId, sequenceNumber, collection, recordId, wallTime, logical, isPurged }
  return { ...entry, bytes: Buffer.byteLength(wireJson), note: entry.kind === 'operation' ? note : null }
}

/** True for a record that was deleted long enough ago, and has few enough rows to drop at once. */
export function isForgettable(
  { state, rowCount }: CompactionCandidate,
  { rules }: CompactionContext,
): boolean {
  if (state === null) return false
  const { isDeleted, isPurged, lastDeleteAt, newest } = state
  if (rules.deletedBefore === null || !isDeleted || isPurged === true || lastDeleteAt === null) return false
  if (rowCount > MAX_ROWS_PER_RECORD || compareTimestamps(newest.timestamp, lastDeleteAt) !== 0) return false
  return lastDeleteAt.wallTime < rules.deletedBefore
}

/** The remaining state of a purged record: that it was deleted, and when. */
export function purgedState(state: RecordState): RecordState {
  return {
    ...state,
    values: {},
    fieldVersions: {},
    isEncrypted: false,
    isSealed: false,
    hasSkipped: false,
    lastInsertAt: null,
    isPurged: true,
  }
}

/** The notes that are kept of a record's dropped operations. */
export function notesOf({ dropped }: RecordCompaction): DroppedOperation[] {
  return dropped.flatMap(({ note }) => note ?? [])
}

/** Sums up dropped rows by collection. */
export class DroppedCounter {
  readonly #counts = new Map<string, DroppedCount>()

  add(collection: string, { dropped, isPurged }: RecordCompaction): void {
    if (dropped.length === 0) return
    const bytes = dropped.reduce((sum, row) => sum + row.bytes, 0)
    const operations = dropped.filter(({ kind }) => kind === 'operation').length
    this.addCount({ collection, operations, bytes, tombstones: isPurged ? 1 : 0 })
  }

  addCount({ collection, operations, bytes, tombstones }: DroppedCount): void {
    const known = this.#counts.get(collection)
    this.#counts.set(collection, {
      collection,
      operations: operations + (known?.operations ?? 0),
      bytes: bytes + (known?.bytes ?? 0),
      tombstones: tombstones + (known?.tombstones ?? 0),
    })
  }

  get counts(): readonly DroppedCount[] {
    return [...this.#counts.values()]
  }
}
