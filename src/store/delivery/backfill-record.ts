import { serializeTimestamp } from '../../core/clock.ts'
import { deepEqual } from '../../core/deep-equal.ts'
import type { Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { changeOf, keyBefore, type ScopeChange, type ScopeChanges, type ScopeKey } from '../../core/view.ts'
import type { PlannedEntry, PlannedRecord } from '../append/batch-overlay.ts'
import { authorPastCorrection } from '../append/correction.ts'
import { type AppendContext, snapshotEntries, snapshotEntry } from '../append/plan-append.ts'
import { gainsViews, isMisnamed, scopeChangesOf } from '../append/scope-changes.ts'
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
  const stored = operations.map(storedOperation)
  const history = fieldHistoryOf(stored, late.field, context.collection(collection), isCompacted)
  const moves = movesOf(history, operations, late)
  const past = { operations, stored, history, late }
  return {
    noted: noteHistory(entries.filter(isBefore(late)), past),
    closing: [...closingSnapshot(record, moves, context), ...pastCorrections(record, past, context)],
  }
}

/** The operations of a record, with what they did to the late field. */
interface Past {
  readonly operations: readonly LogEntry[]
  /** The same, parsed. */
  readonly stored: readonly Operation[]
  readonly history: FieldHistory
  readonly late: LateField
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

/** Notes the field on the entries of which its history is known. */
function noteHistory(entries: readonly LogEntry[], { stored, history: { changes } }: Past): LogEntry[] {
  const noted: LogEntry[] = []
  const indexByClock = entries.every(isOperation) ? NO_CLOCKS : firstIndexByClock(stored)
  let index = -1
  let lastMove = -1
  for (const entry of entries) {
    if (isOperation(entry)) {
      index++
      if (changes[index]?.before !== undefined) lastMove = index
    }
    let change = changes[index]
    if (change !== undefined && !isOperation(entry)) {
      const snapshot = storedOperation(entry)
      const of = indexByClock.get(serializeTimestamp(snapshot.timestamp)) ?? 0
      const corrected = { operation: stored[of], change: changes[of], hasMovedSince: of <= lastMove }
      change = changeOfSnapshot(snapshot, change, corrected)
    }
    if (change === undefined) continue
    noted.push({ ...entry, scopeChanges: withFieldChange(entry.scopeChanges, change) })
  }
  return noted
}

const NO_CLOCKS: ReadonlyMap<string, number> = new Map()

/** Where each clock of a record is found first. */
function firstIndexByClock(stored: readonly Operation[]): ReadonlyMap<string, number> {
  const indexByClock = new Map<string, number>()
  for (const [index, { timestamp }] of stored.entries()) {
    const clock = serializeTimestamp(timestamp)
    if (!indexByClock.has(clock)) indexByClock.set(clock, index)
  }
  return indexByClock
}

/** The operation that has the clock of a snapshot: where that is a correction, the one that it corrects. */
interface Corrected {
  /** Where it was dropped since, the first one that is left; undefined: there is none. */
  readonly operation: Operation | undefined
  /** What it did to the field. */
  readonly change: ScopeChange | undefined
  /** It has moved the record by the field, or one between it and the snapshot. */
  readonly hasMovedSince: boolean
}

/**
 * Tells what is noted on a snapshot. It shows its record as the operation before it left it.
 *
 * A correction also names the values before the operation that it corrects. Where the record has moved by the field
 * since, the correction stays hidden from all views by it, because those that gained the record must not learn them.
 * Where the operation names another value of this field, too, clients that filter by it have dropped the operation,
 * whatever else showed them the record.
 *
 * @param change of the operation before it
 */
function changeOfSnapshot(
  snapshot: Operation,
  change: ScopeChange,
  corrected: Corrected,
): ScopeChange | undefined {
  if (corrected.hasMovedSince) return tellsOfBefore(snapshot) ? undefined : change
  if (snapshot.type === 'insert' || corrected.operation === undefined || corrected.change === undefined)
    return change
  return isMisnamed(corrected.operation, corrected.change) ? gained(change) : change
}

/** True for the correction of a losing change. Other snapshots name the values that the record holds as those before. */
function tellsOfBefore({ data, previousData }: Operation): boolean {
  const values = data ?? {}
  return Object.entries(previousData ?? {}).some(
    ([field, before]) => Object.hasOwn(values, field) && !deepEqual(before, values[field]),
  )
}

/**
 * Plans the corrections of changes that lost in the field before it was tracked. Clients that filter by the field have
 * dropped them. Only views that have shown the record all along since such a change are sent its correction: others
 * must not learn what was before, and got the record from a snapshot.
 */
function pastCorrections(record: RecordOfLog, past: Past, context: AppendContext): PlannedEntry[] {
  const losing = losingSinceLastMove(past)
  if (losing.length === 0) return []
  const { collection, state } = record
  const { serverNodeId } = context
  const definition = context.collection(collection)
  const trackedFields = context.trackedFields(collection)
  const present = scopeChangesOf(null, state, trackedFields, null)
  const settledFrom = new Map(
    present.map((change) => [change.field, indexSettledFrom(change, record, { past, definition })]),
  )
  return losing.flatMap(({ index, operation }) => {
    const correction = authorPastCorrection({ operation, state, trackedFields, definition, serverNodeId })
    if (correction === null) return []
    const visibility = present
      .filter(({ field }) => (settledFrom.get(field) ?? 0) <= index)
      .map((change) => (isMisnamed(operation, change) ? gained(change) : change))
    return [snapshotEntry(plannedRecord(record), correction, visibility)]
  })
}

/** The index of the first operation since which the record has not moved by the field. */
function indexSettledFrom(
  { field, after }: ScopeChange,
  { isCompacted }: RecordOfLog,
  { past, definition }: { readonly past: Past; readonly definition: CollectionDefinition | null },
): number {
  if (field === past.late.field) return 0 // it has not moved since it lost
  const noted = past.operations.map(({ scopeChanges }) => changeOf(scopeChanges, field))
  // One that is indexed at the same time may not be noted yet. Nothing is added later to the entries planned here.
  const known = noted.includes(undefined)
    ? fieldHistoryOf(past.stored, field, definition, isCompacted).changes
    : noted
  return noted.findLastIndex((change, index) => keyBefore(change ?? known[index]) !== after) + 1
}

/** The operations that lost in the late field before it was tracked, and since which the record has not moved by it. */
function losingSinceLastMove({ operations, stored, history, late }: Past) {
  const { changes, moves } = history
  if (moves === null) return []
  const pastCount = operations.filter(isBefore(late)).length
  const losing: { index: number; operation: Operation }[] = []
  for (let index = (moves.at(-1) ?? -1) + 1; index < pastCount; index++) {
    const [operation, change] = [stored[index], changes[index]]
    if (operation === undefined || change === undefined) continue
    if (isMisnamed(operation, change)) losing.push({ index, operation })
  }
  return losing
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
  if (moves.unwatched.length === 0) return []
  const present = scopeChangesOf(null, record.state, context.trackedFields(record.collection), null)
  const moved = present.filter((change) => change.field === moves.field)
  const others = present.filter((change) => change.field !== moves.field)
  const settled = others.filter((change) => isSettled(change, moves.unwatched))
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

/** True for a field that held its present value before each of these operations. */
function isSettled({ field, after }: ScopeChange, operations: readonly LogEntry[]): boolean {
  return operations.every(({ scopeChanges }) => keyBefore(changeOf(scopeChanges, field)) === after)
}

/** What the field held before all of its moves to another value; undefined where that was not the same. */
function keyBeforeAll({ after }: ScopeChange, { keysBefore }: Moves): ScopeKey {
  const [key, ...others] = new Set(keysBefore.filter((before) => before !== after))
  return others.length === 0 ? key : undefined
}

function snapshotFor(
  record: RecordOfLog,
  scopeChanges: ScopeChanges,
  context: AppendContext,
): PlannedEntry[] {
  if (!gainsViews(scopeChanges)) return []
  return snapshotEntries(
    plannedRecord(record),
    { state: record.state, scopeChanges, schemaVersion: context.schema?.version ?? 1 },
    context,
  )
}

function plannedRecord({ collection, recordId, ref, state }: RecordOfLog): PlannedRecord {
  return { collection, recordId, ref, state, isChanged: false, applied: [], history: null }
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
