import { compareTimestamps } from '../../core/clock.ts'
import { deepEqual } from '../../core/deep-equal.ts'
import type { JsonValue, Operation, Timestamp } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { mergeField } from '../../core/record/field-merge.ts'
import { atomicOpOf } from '../../core/record/fold-step.ts'
import type { RecordState } from '../../core/record/state.ts'
import { hasResolver } from '../../core/schema/resolvers.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { authorOperation, pickValues } from './server-operation.ts'

/** A change that loses in a tracked field. */
export interface LosingChange {
  readonly operation: Operation
  readonly before: RecordState
  readonly after: RecordState
  readonly trackedFields: readonly string[]
  readonly definition: CollectionDefinition | null
  readonly serverNodeId: string
}

/**
 * Authors the correction of an operation that loses in a tracked field: what it has changed nevertheless, for clients
 * that drop the operation because of the value that it names there. They hold the record as it was before, so
 * `previousData` has the values before: the clients' merges then take lists and texts as they are. A sum is the
 * exception, because the operation's author may be one of these clients and would count its own part twice. With the
 * sum as the value before, too, each client keeps what it has: the author its sum, the others theirs without that part.
 *
 * @returns the operation without a sequence number (0); null when nothing has changed, or the record is encrypted
 */
export function authorCorrection(change: LosingChange): Operation | null {
  const { operation, before, after, serverNodeId } = change
  const { type, collection, recordId, schemaVersion, timestamp } = operation
  if (before.isEncrypted || after.isEncrypted) return null
  const source = { collection, recordId, serverNodeId, schemaVersion }
  const tracked = pickValues(after.values, change.trackedFields)
  if (type === 'delete') {
    const isGone = after.isDeleted && !before.isDeleted
    return isGone ? authorOperation(source, 'delete', timestamp, { data: null, previousData: tracked }) : null
  }
  const changed = Object.keys(operation.data ?? {}).filter(
    (field) => isChanged(field, before, after) && !isComposedBehind(field, operation, after),
  )
  if (changed.length === 0 && before.isDeleted === after.isDeleted) return null
  const data = pickValues(after.values, changed)
  const held = changed.map((field) => {
    const values = { base: before.values[field], value: after.values[field] }
    const known = isMergedTwice(field, values, change.definition) ? values.value : values.base
    return [field, known ?? null]
  })
  return authorOperation(source, 'update', timestamp, {
    data,
    previousData: { ...tracked, ...Object.fromEntries(held) },
  })
}

/** A change that lost in a field before that was tracked, so that no correction followed it. */
export interface PastLosingChange extends Omit<LosingChange, 'before' | 'after'> {
  /** The record as it is now. */
  readonly state: RecordState
}

/**
 * Authors the correction of an operation that lost in the past: what of it still stands. What was written since has come
 * to the clients with those writes. What the record held before is not known any more; given to the clients' merges is
 * what the operation says that it replaced, as for clients that did not drop it.
 *
 * @returns the operation without a sequence number (0); null when nothing stands, or the record is encrypted
 */
export function authorPastCorrection(change: PastLosingChange): Operation | null {
  const { operation, state, serverNodeId, definition } = change
  const { type, collection, recordId, schemaVersion, timestamp } = operation
  if (state.isEncrypted) return null
  const source = { collection, recordId, serverNodeId, schemaVersion }
  const tracked = pickValues(state.values, change.trackedFields)
  if (type === 'delete') {
    const isGone = state.isDeleted && isSame(state.lastDeleteAt, timestamp)
    return isGone ? authorOperation(source, 'delete', timestamp, { data: null, previousData: tracked }) : null
  }
  const standing = Object.keys(operation.data ?? {}).filter(
    (field) =>
      Object.hasOwn(state.values, field) &&
      isSame(ownValue(state.fieldVersions, field)?.timestamp, timestamp),
  )
  if (standing.length === 0) return null
  const held = standing.map((field) => {
    const values = { base: ownValue(operation.previousData ?? {}, field), value: state.values[field] }
    const known = isMergedTwice(field, values, definition) ? values.value : values.base
    return [field, known ?? null]
  })
  return authorOperation(source, 'update', timestamp, {
    data: pickValues(state.values, standing),
    previousData: { ...tracked, ...Object.fromEntries(held) },
  })
}

function isSame(a: Timestamp | null | undefined, b: Timestamp): boolean {
  return a !== null && a !== undefined && compareTimestamps(a, b) === 0
}

/** True where a client that has the value already would merge it to another one, as it does with sums. */
function isMergedTwice(
  field: string,
  { base, value }: { base: JsonValue | undefined; value: JsonValue | undefined },
  definition: CollectionDefinition | null,
): boolean {
  const descriptor = ownValue(definition?.fields ?? {}, field)
  if (definition === null || descriptor === undefined) return false
  if (descriptor.mergeStrategy === 'counter') return true
  if (!hasResolver(definition, field)) return false
  const resolver = ownValue(definition.resolvers, field)
  if (resolver === undefined) return true
  const known = { value }
  const { kind } = descriptor
  const merged = mergeField({ kind, resolver, base, local: known, remote: known, isRemoteLater: true })
  return !deepEqual(merged, value)
}

/**
 * True for an atomic change that later ones have been composed with. Written as a value, it would be too old for
 * clients that lack it; clients that have it, as its author, would go on from that value and lose what the later
 * changes had not seen.
 */
function isComposedBehind(field: string, operation: Operation, { fieldVersions }: RecordState): boolean {
  const version = ownValue(fieldVersions, field)
  if (version === undefined || atomicOpOf(operation, field) === null) return false
  return compareTimestamps(version.timestamp, operation.timestamp) > 0
}

/** Also true for a field that was written with the value that it had: later writes are compared with the new clock. */
function isChanged(field: string, before: RecordState, after: RecordState): boolean {
  if (!Object.hasOwn(after.values, field)) return false
  if (!deepEqual(before.values[field], after.values[field])) return true
  const writtenAt = ownValue(after.fieldVersions, field)?.timestamp
  const knownAt = ownValue(before.fieldVersions, field)?.timestamp
  return writtenAt !== undefined && (knownAt === undefined || compareTimestamps(writtenAt, knownAt) !== 0)
}
