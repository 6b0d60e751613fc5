import { deepEqual } from '../../core/deep-equal.ts'
import type { Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import { changeOf, keyBefore, type ScopeChange, type ScopeChanges, type ScopeKey } from '../../core/view.ts'
import type { PlannedEntry } from '../append/batch-overlay.ts'
import { type AppendContext, snapshotEntries } from '../append/plan-append.ts'
import { gainsViews, scopeChangesOf } from '../append/scope-changes.ts'
import { parseStoredOperation } from '../damage/corrupt.ts'
import type { LogEntry } from '../store.ts'
import { type FieldHistory, fieldHistoryOf } from './field-history.ts'

/** A record with its entries of the log. */
export interface RecordOfLog {
  readonly collection: string
  readonly recordId: string
  readonly ref: number
  readonly state: RecordState
  /** In delivery order, snapshots too. */
  readonly entries: readonly LogEntry[]
  /** Operations of it were dropped. */
  readonly isCompacted: boolean
}

/** A field that is tracked although there are entries already. */
export interface LateField {
  readonly field: string
  /** The end of the log when tracking began: what is later was noted as it was stored. */
  readonly trackedAfter: number
}

/** What is to be written for one record. */
export interface RecordBackfill {
  /** Entries of the past, with what is known of the field now. */
  readonly noted: readonly LogEntry[]
  /** What comes behind all of them. */
  readonly closing: readonly PlannedEntry[]
}

/** Indexes a record by a field that was not tracked when its first entries were stored: the one way of all stores. */
export function backfillRecord(record: RecordOfLog, late: LateField, context: AppendContext): RecordBackfill {
  const { collection, entries, isCompacted } = record
  const operations = entries.filter(isOperation)
  const history = fieldHistoryOf(
    operations.map(storedOperation),
    late.field,
    context.collection(collection),
    isCompacted,
  )
  const moves = movesOf(history, operations, late)
  return {
    noted: noteHistory(entries.filter(isBefore(late)), history.changes),
    closing: moves.unwatched.length > 0 ? closingSnapshot(record, moves, context) : [],
  }
}

/** How a record has moved by the late field. */
interface Moves {
  readonly field: string
  /** The operations that moved it before it was tracked, which sent no snapshots. */
  readonly unwatched: readonly LogEntry[]
  /** What the field held before each of them; undefined where everybody may lack what was before. */
  readonly keysBefore: readonly ScopeKey[]
  /** Views that it has come into since have got a snapshot. */
  readonly hasMovedSince: boolean
}

/** What is not known of the past may have moved the record. */
function movesOf({ moves, changes }: FieldHistory, operations: readonly LogEntry[], late: LateField): Moves {
  const { field } = late
  const isPast = isBefore(late)
  const isNotedMove = ({ scopeChanges }: LogEntry) => changeOf(scopeChanges, field)?.before !== undefined
  const indices =
    moves ?? operations.flatMap((entry, index) => (isPast(entry) || isNotedMove(entry) ? [index] : []))
  const moving = indices.flatMap((index) => operations[index] ?? [])
  const unwatched = moving.filter(isPast)
  const keysBefore = indices.slice(0, unwatched.length).map((index) => changes[index]?.before?.key)
  return { field, unwatched, keysBefore, hasMovedSince: unwatched.length < moving.length }
}

/**
 * Notes the field on the entries of which its history is known. A snapshot shows its record as the operation before it
 * left it. A correction also names the values before that operation: where the operation moved the record by the field,
 * the correction stays hidden from all views by it, because those that gained the record must not learn them.
 */
function noteHistory(
  entries: readonly LogEntry[],
  changes: readonly (ScopeChange | undefined)[],
): LogEntry[] {
  const noted: LogEntry[] = []
  let operations = 0
  for (const entry of entries) {
    if (isOperation(entry)) operations++
    const change = changes[operations - 1]
    if (change === undefined) continue
    if (!isOperation(entry) && change.before !== undefined && tellsOfBefore(entry)) continue
    noted.push({ ...entry, scopeChanges: withFieldChange(entry.scopeChanges, change) })
  }
  return noted
}

/** True for the correction of a losing change. Other snapshots name the values that the record holds as those before. */
function tellsOfBefore(entry: LogEntry): boolean {
  const { data, previousData } = storedOperation(entry)
  const values = data ?? {}
  return Object.entries(previousData ?? {}).some(
    ([field, before]) => Object.hasOwn(values, field) && !deepEqual(before, values[field]),
  )
}

/**
 * Plans the closing snapshot of a record. Its past moves sent no snapshots, because the field was not tracked. So each
 * record that has moved gets one at the end of the log, for the views that it has moved into: those that match its
 * present value, and not the value before.
 *
 * A view of several queries may show the record by another field now, and so seem to have shown it all along, although
 * that field held something else when the record moved. The updates of that time are repeated for all views of the
 * record: they change nothing for clients that have them. An insert would count a sum again, so it is only for views
 * that show the record without such fields.
 */
function closingSnapshot(record: RecordOfLog, moves: Moves, context: AppendContext): PlannedEntry[] {
  const present = scopeChangesOf(null, record.state, context.trackedFields(record.collection), null)
  const moved = present.filter((change) => change.field === moves.field)
  const others = present.filter((change) => change.field !== moves.field)
  const settled = others.filter((change) => isSettled(change, moves))
  const arrived = moved.map((change) => ({ ...change, before: { key: keyBeforeAll(change, moves) } }))
  const entriesFor = (scopeChanges: ScopeChanges) => snapshotFor(record, scopeChanges, context)
  if (settled.length === others.length && !moves.hasMovedSince) return entriesFor([...arrived, ...others])
  const unsettled = others.filter((change) => !settled.includes(change))
  const inserts = moves.hasMovedSince
    ? []
    : [...entriesFor([...arrived, ...others]), ...entriesFor([...arrived, ...settled])]
  const updates = entriesFor([...[...moved, ...unsettled].map(gained), ...settled])
  return [
    ...inserts.filter(({ operation }) => operation.type === 'insert'),
    ...updates.filter(({ operation }) => operation.type !== 'insert'),
  ]
}

/** True for a field that held its present value whenever the record moved by the other one. */
function isSettled({ field, after }: ScopeChange, { unwatched }: Moves): boolean {
  return unwatched.every(({ scopeChanges }) => keyBefore(changeOf(scopeChanges, field)) === after)
}

/** What the field held before all of its moves to another value; undefined where that was not the same. */
function keyBeforeAll({ after }: ScopeChange, { keysBefore }: Moves): ScopeKey {
  const [key, ...others] = new Set(keysBefore.filter((before) => before !== after))
  return others.length === 0 ? key : undefined
}

function snapshotFor(
  { collection, recordId, ref, state }: RecordOfLog,
  scopeChanges: ScopeChanges,
  context: AppendContext,
): PlannedEntry[] {
  if (!gainsViews(scopeChanges)) return []
  const record = { collection, recordId, ref, state, isChanged: false, applied: [], history: null }
  return snapshotEntries(
    record,
    { state, scopeChanges, schemaVersion: context.schema?.version ?? 1 },
    context,
  )
}

/** The change as of a record that did not have the value before. */
function gained(change: ScopeChange): ScopeChange {
  return { ...change, before: { key: undefined } }
}

/** The changes with those of a field that has been tracked since. */
function withFieldChange(changes: ScopeChanges, change: ScopeChange): ScopeChanges {
  return [...changes.filter(({ field }) => field !== change.field), change]
}

/** Tells the entries of the past. */
function isBefore({ trackedAfter }: LateField): (entry: LogEntry) => boolean {
  return ({ deliverySequence }) => deliverySequence <= trackedAfter
}

function storedOperation({ wireJson, deliverySequence }: LogEntry): Operation {
  return parseStoredOperation(wireJson, deliverySequence)
}

function isOperation({ kind }: LogEntry): boolean {
  return kind === 'operation'
}
