import { compareTimestamps } from '../../core/clock.ts'
import { deepEqual } from '../../core/deep-equal.ts'
import type { FieldValues, JsonValue, Operation } from '../../core/operation.ts'
import { computeOperationId } from '../../core/operation-id.ts'
import { ownValue } from '../../core/own-property.ts'
import { encodeBytes } from '../../core/record/binary-values.ts'
import { shownValue } from '../../core/record/field-merge.ts'
import type { RecordState } from '../../core/record/state.ts'
import { type Refusal, refuseWrite } from '../../core/refusal.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { columnOf } from '../materialize/columns.ts'
import type { AppendRequest, RefusedResult, ServerWrite } from '../store.ts'
import type { ServerClock } from './server-clock.ts'

export interface AuthoringContext {
  readonly serverNodeId: string
  readonly clock: ServerClock
  collection(name: string): CollectionDefinition | null
}

/** True for a write of the application, which becomes an operation only when it is stored. */
export function isServerWrite(request: AppendRequest | ServerWrite): request is ServerWrite {
  return 'author' in request
}

/**
 * Makes the operation of a write of the server, inside the transaction: only there is it known what
 * the record holds, and therefore what the write depends on and after whom it must be stamped.
 *
 * @param state the record at that moment; null when there is none
 * @returns the operation, without its sequence number (0), or why there is none
 */
export function authorWrite(
  write: ServerWrite,
  state: RecordState | null,
  context: AuthoringContext,
): Operation | RefusedResult {
  const refused = refuseAbsence(write, state) ?? refuseConditions(write, state, context)
  if (refused !== null) return refused
  const { data, previousData } = contentOf(write, state, context.collection(write.collection))
  const operation: Operation = {
    id: '',
    nodeId: context.serverNodeId,
    type: write.type,
    collection: write.collection,
    recordId: write.recordId,
    data,
    previousData,
    timestamp: context.clock.stampAfter(state === null ? null : latestOf(state)),
    sequenceNumber: 0,
    causalDeps: state === null ? [] : [state.newest.operationId],
    schemaVersion: write.schemaVersion,
  }
  return { ...operation, id: computeOperationId(operation) }
}

/** The newest write to the record or to any of its fields. */
export function latestOf({ newest, fieldVersions }: RecordState): Operation['timestamp'] {
  let latest = newest.timestamp
  for (const field in fieldVersions) {
    const timestamp = fieldVersions[field]?.timestamp
    if (timestamp !== undefined && compareTimestamps(timestamp, latest) > 0) latest = timestamp
  }
  return latest
}

function refuseAbsence({ type, collection, recordId }: ServerWrite, state: RecordState | null) {
  const isLive = state !== null && !state.isDeleted
  if (type === 'insert' && isLive) {
    return refused(refuseWrite('RECORD_EXISTS', `${collection} already has a record ${recordId}.`))
  }
  if (type !== 'insert' && !isLive) {
    return refused(refuseWrite('RECORD_NOT_FOUND', `${collection} has no record ${recordId}.`))
  }
  return null
}

function refuseConditions(
  { collection, recordId, conditions = {} }: ServerWrite,
  state: RecordState | null,
  context: AuthoringContext,
): RefusedResult | null {
  for (const [field, expected] of Object.entries(conditions)) {
    const actual = presentValue(field, state, context.collection(collection))
    if (deepEqual(actual, expected)) continue
    const message = `${collection}/${recordId}: ${field} is not what the condition expects.`
    return { ...refused(refuseWrite('CONDITION_FAILED', message)), unmet: { field, expected, actual } }
  }
  return null
}

/** As queries show it, and the application has read it: the log may hold what no column does. */
function presentValue(
  field: string,
  state: RecordState | null,
  collection: CollectionDefinition | null,
): JsonValue {
  const stored = ownValue(state?.values ?? {}, field)
  const descriptor = ownValue(collection?.fields ?? {}, field)
  if (descriptor === undefined) return stored ?? null
  const shown = columnOf(field, descriptor, 'sqlite').show(stored) // as in every dialect
  return shown instanceof Uint8Array ? encodeBytes(shown) : shown
}

function contentOf(
  { type, data }: ServerWrite,
  state: RecordState | null,
  collection: CollectionDefinition | null,
): Pick<Operation, 'data' | 'previousData'> {
  if (type === 'delete' || data === null) return { data: null, previousData: null }
  if (type === 'insert') return { data: withoutRemains(data, state), previousData: null }
  const previous: [string, JsonValue][] = []
  for (const field of Object.keys(data)) {
    // As devices have it: where they find another value, they take it for a conflict.
    const value = shownValue(ownValue(collection?.fields ?? {}, field), ownValue(state?.values ?? {}, field))
    if (value !== undefined) previous.push([field, value])
  }
  return { data, previousData: Object.fromEntries(previous) }
}

/**
 * An insert brings a deleted record back. Clients then keep the old values of the fields that it
 * leaves out, where a replay of the log drops them: so it leaves none out.
 */
function withoutRemains(data: FieldValues, state: RecordState | null): FieldValues {
  const remains = Object.keys(state?.values ?? {}).filter((field) => !Object.hasOwn(data, field))
  return remains.length === 0
    ? data
    : { ...data, ...Object.fromEntries(remains.map((field) => [field, null])) }
}

function refused(refusal: Refusal): RefusedResult {
  return { status: 'refused', refusal }
}
