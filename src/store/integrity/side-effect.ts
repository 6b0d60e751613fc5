import { compareTimestamps } from '../../core/clock.ts'
import type { FieldValues, JsonValue, Operation } from '../../core/operation.ts'
import { computeOperationId } from '../../core/operation-id.ts'
import { foldOperation } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { latestOf } from '../append/author-write.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import type { ServerClock } from '../append/server-clock.ts'

/** An operation of the server's own, and what it makes of its record. */
export interface SideEffect {
  readonly record: PlannedRecord
  /** Without its sequence number (0), which it is given on commit. */
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
  /** What the client, or the application, did. */
  readonly operation: Operation
  /** Id of the operation that this one follows from directly. */
  readonly causeId: string
  /** What the record is when the side effect reaches it. */
  readonly state: RecordState
}

/**
 * Writes what follows from an operation into another record, or back into its own. It is stamped
 * after the operation and after everything that its record has seen, so that it wins on all devices.
 *
 * With the fields in it that visibility is decided by, it passes the filter of clients that receive
 * it in one batch with the insert of its record.
 *
 * @param values fields to set; null: the record is deleted
 */
export function authorSideEffect(
  record: PlannedRecord,
  values: FieldValues | null,
  { operation: { timestamp, schemaVersion }, causeId, state }: SideEffectCause,
  context: SideEffectContext,
): SideEffect {
  const { collection, recordId } = record
  const newest = latestOf(state)
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
    timestamp: context.clock.stampAfter(compareTimestamps(timestamp, newest) > 0 ? timestamp : newest),
    sequenceNumber: 0,
    causalDeps: [causeId],
    schemaVersion,
  }
  const operation = { ...written, id: computeOperationId(written) }
  return { record, operation, after: foldOperation(state, operation, context.collection(collection)) }
}

function pickValues({ values }: RecordState, fields: readonly string[]): FieldValues {
  const present = fields.filter((field) => Object.hasOwn(values, field))
  return Object.fromEntries(present.map((field) => [field, values[field] as JsonValue])) // hasOwn
}

function orNull(values: FieldValues): FieldValues | null {
  return Object.keys(values).length === 0 ? null : values
}
