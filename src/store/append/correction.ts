import { compareTimestamps } from '../../core/clock.ts'
import { deepEqual } from '../../core/deep-equal.ts'
import type { Operation } from '../../core/operation.ts'
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
    const known = isMergedTwice(field, change) ? after : before
    return [field, known.values[field] ?? null]
  })
  return authorOperation(source, 'update', timestamp, {
    data,
    previousData: { ...tracked, ...Object.fromEntries(held) },
  })
}

/** True where a client that has the value already would merge it to another one, as it does with sums. */
function isMergedTwice(field: string, { before, after, definition }: LosingChange): boolean {
  const descriptor = ownValue(definition?.fields ?? {}, field)
  if (definition === null || descriptor === undefined) return false
  if (descriptor.mergeStrategy === 'counter') return true
  if (!hasResolver(definition, field)) return false
  const resolver = ownValue(definition.resolvers, field)
  if (resolver === undefined) return true
  const known = { value: after.values[field] }
  const { kind } = descriptor
  const base = before.values[field]
  const merged = mergeField({ kind, resolver, base, local: known, remote: known, isRemoteLater: true })
  return !deepEqual(merged, known.value)
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
