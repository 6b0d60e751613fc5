import type { RecordState } from '../../core/record/state.ts'
import { changeOf, type ScopeChange, type ScopeChanges } from '../../core/view.ts'
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
    operations.map(({ wireJson, deliverySequence }) => parseStoredOperation(wireJson, deliverySequence)),
    late.field,
    context.collection(collection),
    isCompacted,
  )
  const lastMove = movesOf(history, operations, late).at(-1)
  return {
    noted: noteHistory(entries.filter(isBefore(late)), history.changes),
    // Where the record has moved since, its snapshots are there.
    closing: lastMove !== undefined && isBefore(late)(lastMove) ? closingSnapshot(record, late, context) : [],
  }
}

/** The operations that have moved the record by the field. What is not known of the past may have moved it. */
function movesOf({ moves }: FieldHistory, operations: readonly LogEntry[], late: LateField): LogEntry[] {
  if (moves !== null) return moves.flatMap((index) => operations[index] ?? [])
  return operations.filter(
    (entry) => isBefore(late)(entry) || changeOf(entry.scopeChanges, late.field)?.before !== undefined,
  )
}

/** The entries of which something is known. */
function noteHistory(
  entries: readonly LogEntry[],
  changes: readonly (ScopeChange | undefined)[],
): LogEntry[] {
  const noted: LogEntry[] = []
  let operations = 0
  for (const entry of entries) {
    if (isOperation(entry)) operations++
    const change = changes[operations - 1] // a snapshot shows its record as the operation before left it
    if (change !== undefined)
      noted.push({ ...entry, scopeChanges: withFieldChange(entry.scopeChanges, change) })
  }
  return noted
}

/**
 * The record's moves of the past sent no snapshots, because nobody watched the field. So each record that has moved
 * gets one at the end of the log, seen by the views it has moved into: those that match its present value, which is
 * not the value it had before its last move.
 */
function closingSnapshot(
  { collection, recordId, ref, state }: RecordOfLog,
  { field }: LateField,
  context: AppendContext,
): PlannedEntry[] {
  const present = scopeChangesOf(null, state, context.trackedFields(collection), null)
  const scopeChanges = present.map((change) => (change.field === field ? gained(change) : change))
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

function isOperation({ kind }: LogEntry): boolean {
  return kind === 'operation'
}
