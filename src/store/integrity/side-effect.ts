import { compareTimestamps } from '../../core/clock.ts'
import type { FieldValues, JsonValue, Operation, Timestamp } from '../../core/operation.ts'
import { computeOperationId } from '../../core/operation-id.ts'
import { ownValue } from '../../core/own-property.ts'
import { applyOperation, foldOperation } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { latestOf } from '../append/author-write.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import type { ServerClock } from '../append/server-clock.ts'

/** An operation of the server's own, with the resulting state of its record. */
export interface SideEffect {
  readonly record: PlannedRecord
  /** Its sequence number is 0 until commit. */
  readonly operation: Operation
  readonly after: RecordState
}

export interface SideEffectContext {
  readonly serverNodeId: string
  readonly clock: ServerClock
  collection(name: string): CollectionDefinition | null
  trackedFields(collection: string): readonly string[]
}

export interface SideEffectCause {
  /** The operation of the client or the application. */
  readonly operation: Operation
  /** Id of the operation that directly causes this one. */
  readonly causeId: string
  /** The state of the record when the side effect reaches it. */
  readonly state: RecordState
}

/**
 * Writes an effect of a deletion to another record. Its timestamp is by the server's clock, after the deletion and
 * everything that the record has seen, so that it wins on all devices.
 *
 * @param values fields to set; null: the record is deleted
 */
export function authorSideEffect(
  record: PlannedRecord,
  values: FieldValues | null,
  cause: SideEffectCause,
  context: SideEffectContext,
): SideEffect {
  const newest = latestOf(cause.state)
  const ownTime = cause.operation.timestamp
  const timestamp = context.clock.stampAfter(compareTimestamps(ownTime, newest) > 0 ? ownTime : newest)
  return folded(record, author({ record, values, timestamp }, cause, context), cause.state, context)
}

/**
 * Sets fields to their correct values after an operation. Its timestamp comes right after the write that the fields
 * have their value from, and is not the present time: writes that other devices have made since, but not sent yet,
 * are judged by themselves. Only where the state does not determine the outcome of that, it comes after the whole
 * record.
 */
export function authorCorrection(
  record: PlannedRecord,
  values: FieldValues,
  cause: SideEffectCause,
  context: SideEffectContext,
): SideEffect {
  const { state } = cause
  const timestamp = context.clock.stampRightAfter(newestWriteTo(Object.keys(values), state))
  const operation = author({ record, values, timestamp }, cause, context)
  const after = applyOperation(state, operation, context.collection(record.collection))
  if (after !== 'needs-replay') return { record, operation, after }
  const last = context.clock.stampRightAfter(latestOf(state))
  return folded(record, author({ record, values, timestamp: last }, cause, context), state, context)
}

/** The newest write that gave one of the fields its value. An insert counts too, because it decides what it omits. */
function newestWriteTo(
  fields: readonly string[],
  { lastInsertAt, fieldVersions, newest }: RecordState,
): Timestamp {
  let latest = lastInsertAt
  for (const field of fields) {
    const written = ownValue(fieldVersions, field)?.timestamp
    if (written === undefined) continue
    if (latest === null || compareTimestamps(written, latest) > 0) latest = written
  }
  return latest ?? newest.timestamp
}

/** The side effect of an operation that is newer than everything in its record. */
function folded(
  record: PlannedRecord,
  operation: Operation,
  state: RecordState,
  context: SideEffectContext,
): SideEffect {
  return { record, operation, after: foldOperation(state, operation, context.collection(record.collection)) }
}

/**
 * Authors an operation of the server. It includes the fields on which visibility depends, so that it passes the
 * filter of clients that receive it in one batch with the insert of its record.
 */
function author(
  { record, values, timestamp }: { record: PlannedRecord; values: FieldValues | null; timestamp: Timestamp },
  { operation: { schemaVersion }, causeId, state }: SideEffectCause,
  context: SideEffectContext,
): Operation {
  const { collection, recordId } = record
  const tracked = pickValues(state, context.trackedFields(collection))
  const written: Operation = {
    id: '',
    nodeId: context.serverNodeId,
    type: values === null ? 'delete' : 'update',
    collection,
    recordId,
    data: values,
    previousData:
      values === null ? orNull(tracked) : { ...tracked, ...pickValues(state, Object.keys(values)) },
    timestamp,
    sequenceNumber: 0,
    causalDeps: [causeId],
    schemaVersion,
  }
  return { ...written, id: computeOperationId(written) }
}

function pickValues({ values }: RecordState, fields: readonly string[]): FieldValues {
  const present = fields.filter((field) => Object.hasOwn(values, field))
  return Object.fromEntries(present.map((field) => [field, values[field] as JsonValue])) // hasOwn was checked
}

function orNull(values: FieldValues): FieldValues | null {
  return Object.keys(values).length === 0 ? null : values
}
