import { compareTimestamps } from '../../core/clock.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { droppedIdOf } from '../append/dropped-ids.ts'
import { parseStoredOperation } from '../damage/corrupt.ts'
import type { LogEntry } from '../store.ts'
import type { CompactionRules, DroppedCount, DroppedOperation } from './compaction.ts'
import { planCompaction } from './plan-compaction.ts'

/** A step holds the writer of a store for some 20 ms: so many records and rows of the log. */
export const RECORDS_PER_STEP = 500
export const ROWS_PER_STEP = 2000
/** Of a record with more rows the first ones are looked at; the next compaction gets further. */
export const MAX_ROWS_PER_RECORD = 20_000
/** With fewer rows than an insert and two updates nothing of a record is superseded. */
const MIN_ROWS = 3

/** One record on its way through a compaction. */
export interface CompactionCandidate {
  readonly ref: number
  readonly collection: string
  readonly recordId: string
  /** null: the record is one insert and nothing else. */
  readonly state: RecordState | null
  readonly rowCount: number
}

export interface RecordCompaction {
  readonly dropped: readonly LogEntry[]
  /** True when nothing of the record stays. */
  readonly isPurged: boolean
}

export interface CompactionContext {
  readonly rules: CompactionRules
  /** The end of the log: what stands there stays, so that no number is given twice. */
  readonly end: number
  collection(name: string): CollectionDefinition | null
  /** False while entries of the collection are being told of a new scope field. */
  isSettled(collection: string): boolean
}

/** The first of these records that one step has time for, and always one. */
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

/** Whether the rows of a record are worth reading. */
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

/** @param entries the record's rows in delivery order, `MAX_ROWS_PER_RECORD` at most */
export function planRecord(
  candidate: CompactionCandidate,
  entries: readonly LogEntry[],
  context: CompactionContext,
): RecordCompaction {
  const { end, rules } = context
  const last = entries.at(-1)
  const isWhole = entries.length < MAX_ROWS_PER_RECORD
  if (isForgettable(candidate, context) && isWhole && last !== undefined && last.deliverySequence < end) {
    return { dropped: entries, isPurged: true }
  }
  const collection = context.collection(candidate.collection)
  if (collection === null || rules.supersededBefore === null) return { dropped: [], isPurged: false }
  const dropped = planCompaction(entries, { collection, writtenBefore: rules.supersededBefore })
  return {
    dropped: dropped.flatMap(({ entry }) => (entry.deliverySequence < end ? entry : [])),
    isPurged: false,
  }
}

/** A record that has been deleted for long enough, and has few enough rows to go at once. */
function isForgettable({ state, rowCount }: CompactionCandidate, { rules }: CompactionContext): boolean {
  if (state === null) return false
  const { isDeleted, isPurged, lastDeleteAt, newest } = state
  if (rules.deletedBefore === null || !isDeleted || isPurged === true || lastDeleteAt === null) return false
  if (rowCount > MAX_ROWS_PER_RECORD || compareTimestamps(newest.timestamp, lastDeleteAt) !== 0) return false
  return lastDeleteAt.wallTime < rules.deletedBefore
}

/** What is left of a forgotten record: that it was deleted, and when. */
export function purgedState(state: RecordState): RecordState {
  return {
    ...state,
    values: {},
    fieldVersions: {},
    isEncrypted: false,
    hasSkipped: false,
    lastInsertAt: null,
    isPurged: true,
  }
}

/** What is kept of the operations that are dropped of a record. */
export function notesOf({ dropped, isPurged }: RecordCompaction): DroppedOperation[] {
  return dropped
    .filter(({ kind }) => kind === 'operation')
    .map(({ wireJson, deliverySequence }) => {
      const operation = parseStoredOperation(wireJson, deliverySequence)
      const { nodeId, sequenceNumber, collection, recordId, timestamp } = operation
      const { wallTime, logical } = timestamp
      const operationId = isPurged ? droppedIdOf(operation) : operation.id // proved, of the others
      return { operationId, nodeId, sequenceNumber, collection, recordId, wallTime, logical, isPurged }
    })
}

/** Adds up what was dropped, by collection. */
export class DroppedCounter {
  readonly #counts = new Map<string, DroppedCount>()

  add(collection: string, { dropped, isPurged }: RecordCompaction): void {
    if (dropped.length === 0) return
    const bytes = dropped.reduce((sum, entry) => sum + Buffer.byteLength(entry.wireJson), 0)
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
