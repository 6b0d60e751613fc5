import { compareTimestamps } from '../../core/clock.ts'
import { deepEqual } from '../../core/deep-equal.ts'
import type { FieldValues, JsonValue, Operation, Timestamp } from '../../core/operation.ts'
import { computeOperationId } from '../../core/operation-id.ts'
import { ownValue } from '../../core/own-property.ts'
import { mergeField } from '../../core/record/field-merge.ts'
import { atomicOpOf } from '../../core/record/fold-step.ts'
import type { RecordState } from '../../core/record/state.ts'
import { hasResolver } from '../../core/schema/resolvers.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { latestOf } from './author-write.ts'
import type { ServerClock } from './server-clock.ts'

/*
 * A record that moves into a view must arrive there whole. The operation that moves it is a partial
 * update of a record those clients have never seen, and the record's older operations carry the old
 * value of the scope field, so each client's own filter drops them. So the server authors, directly
 * behind the moving operation, operations that build the record as it is now:
 *
 *   insert   all present values, stamped as the insert that the record goes back to
 *   update   for each later write: the fields it set, stamped as that write
 *   delete   when the record is a tombstone, stamped as its deletion
 *
 * Each value keeps the clock of the write it comes from. A later operation of any client therefore
 * wins or loses against it exactly as it does on clients that saw the original writes; a fresh clock
 * would beat edits that were made before the move and arrive after it. The updates repeat values
 * that the insert has already brought, which required columns need; only their clocks are new. An
 * insert that arrives late counts if it is newer than the record's own, so the snapshot must not
 * look newer than that.
 *
 * A record whose insert has not arrived gets none here either. Until it comes, clients keep the updates that
 * name the fields of their scope, and those without a scope keep all; the other updates they drop, because
 * without the record they cannot tell whether it is theirs. So the updates are sent again behind the insert.
 *
 * Clients filter each operation by itself, before its batch is applied. Hence `previousData`: with
 * the tracked fields in it, an update that does not touch them passes the filter too.
 *
 * Atomic intents are left out: they would be applied a second time on top of their own result.
 *
 * The same record may come into another view in the same state later, and these operations then
 * get the same ids again. That is meant: whoever has them already ignores them.
 */

export interface SnapshotSource {
  readonly collection: string
  readonly recordId: string
  readonly state: RecordState
  readonly trackedFields: readonly string[]
  readonly serverNodeId: string
  /** Schema version of the operation that moved the record. */
  readonly schemaVersion: number
}

/** The operations that build the record, without sequence numbers (0). None when it is encrypted. */
export function authorSnapshot(source: SnapshotSource): Operation[] {
  const { state } = source
  if (state.isEncrypted) return []
  const writes = groupByWrite(state)
  const tracked = pickValues(state.values, source.trackedFields)
  const operations: Operation[] = []
  if (state.lastInsertAt !== null) {
    const whole = { data: { ...state.values }, previousData: null }
    operations.push(author(source, 'insert', state.lastInsertAt, whole))
  }
  for (const { timestamp, values } of writes) {
    if (state.lastInsertAt !== null && compareTimestamps(timestamp, state.lastInsertAt) <= 0) continue
    operations.push(
      author(source, 'update', timestamp, { data: values, previousData: { ...tracked, ...values } }),
    )
  }
  if (state.isDeleted && state.lastDeleteAt !== null) {
    operations.push(author(source, 'delete', state.lastDeleteAt, { data: null, previousData: tracked }))
  }
  return operations
}

export interface LosingChange {
  readonly operation: Operation
  readonly before: RecordState
  readonly after: RecordState
  readonly trackedFields: readonly string[]
  readonly definition: CollectionDefinition | null
  readonly serverNodeId: string
}

/**
 * What an operation has changed although it loses in a tracked field, for clients that drop it for what it names there.
 * They hold the record as it was before, so the values before are those: their merges take lists and texts as they are.
 * A sum is the exception. Its author, who may be one of them, would count its own part twice. Given as the value before,
 * too, it leaves what a client has: the author its sum, the others theirs without that part.
 *
 * @returns the operation without a sequence number (0); null when nothing has changed, or the record is encrypted
 */
export function authorBrought(change: LosingChange): Operation | null {
  const { operation, before, after, serverNodeId } = change
  const { type, collection, recordId, schemaVersion, timestamp } = operation
  if (before.isEncrypted || after.isEncrypted) return null
  const source = { collection, recordId, serverNodeId, schemaVersion }
  const tracked = pickValues(after.values, change.trackedFields)
  if (type === 'delete') {
    const isGone = after.isDeleted && !before.isDeleted
    return isGone ? author(source, 'delete', timestamp, { data: null, previousData: tracked }) : null
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
  return author(source, 'update', timestamp, {
    data,
    previousData: { ...tracked, ...Object.fromEntries(held) },
  })
}

/** True where who has the value already would merge it to another one, as sums are. */
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
 * True of an atomic change behind which later ones have composed. Written as a value, it would be too old for who
 * lacks it, and who has it, as its author, would go on from that value and lose what the later ones had not seen.
 */
function isComposedBehind(field: string, operation: Operation, { fieldVersions }: RecordState): boolean {
  const version = ownValue(fieldVersions, field)
  if (version === undefined || atomicOpOf(operation, field) === null) return false
  return compareTimestamps(version.timestamp, operation.timestamp) > 0
}

/** Also true of a field that was written with the value that it has: what is written later is compared with that clock. */
function isChanged(field: string, before: RecordState, after: RecordState): boolean {
  if (!Object.hasOwn(after.values, field)) return false
  if (!deepEqual(before.values[field], after.values[field])) return true
  const writtenAt = ownValue(after.fieldVersions, field)?.timestamp
  const knownAt = ownValue(before.fieldVersions, field)?.timestamp
  return writtenAt !== undefined && (knownAt === undefined || compareTimestamps(writtenAt, knownAt) !== 0)
}

interface Write {
  readonly timestamp: Timestamp
  readonly values: Record<string, JsonValue>
}

/** The present values by the write that they come from, in clock order. */
function groupByWrite({ values, fieldVersions, newest }: RecordState): Write[] {
  const writesByTime = new Map<string, Write>()
  for (const field of Object.keys(values)) {
    const timestamp = fieldVersions[field]?.timestamp ?? newest.timestamp
    const key = `${timestamp.wallTime}:${timestamp.logical}:${timestamp.nodeId}`
    let write = writesByTime.get(key)
    if (write === undefined) {
      write = { timestamp, values: Object.create(null) as Record<string, JsonValue> }
      writesByTime.set(key, write)
    }
    write.values[field] = values[field] ?? null
  }
  return [...writesByTime.values()].sort((a, b) => compareTimestamps(a.timestamp, b.timestamp))
}

function pickValues(values: FieldValues, fields: readonly string[]): Record<string, JsonValue> {
  const picked: Record<string, JsonValue> = Object.create(null)
  for (const field of fields) {
    if (Object.hasOwn(values, field)) picked[field] = values[field] ?? null
  }
  return picked
}

function author(
  source: Pick<SnapshotSource, 'collection' | 'recordId' | 'serverNodeId' | 'schemaVersion'>,
  type: Operation['type'],
  timestamp: Timestamp,
  content: Pick<Operation, 'data' | 'previousData'>,
): Operation {
  const operation: Operation = {
    id: '',
    nodeId: source.serverNodeId,
    type,
    collection: source.collection,
    recordId: source.recordId,
    ...content,
    timestamp,
    sequenceNumber: 0,
    causalDeps: [],
    schemaVersion: source.schemaVersion,
  }
  return { ...operation, id: computeOperationId(operation) }
}

/*
 * A server that was restored from a backup may lack a record of which a device holds the snapshot, and
 * whose authors never return. So what a device brings back of a snapshot, and nothing that is stored is
 * as new as, is written anew: as a change by this server, stamped directly behind the write that the
 * values come from. Should that write be brought back, too, the two leave the values of the snapshot,
 * in which atomic changes and merges are contained already.
 */

/** The server that writes it anew. */
interface Writer {
  readonly serverNodeId: string
  readonly clock: ServerClock
  isServerNode(nodeId: string): boolean
}

/**
 * True when a part of a snapshot holds something that the record does not have, or has from an earlier write.
 *
 * @param state the record; null when there is none
 */
export function bringsMore(
  { type, data, timestamp }: Operation,
  state: RecordState | null,
  server: Writer,
): boolean {
  if (state === null) return true
  // What was written anew before stands where another write of the same millisecond may stand.
  const anewAt = server.clock.stampRightAfter(timestamp)
  const comparableWith = ({ nodeId }: Timestamp) =>
    server.isServerNode(nodeId) ? { ...anewAt, nodeId } : timestamp
  const isNewerThan = (written: Timestamp | null) =>
    written === null || compareTimestamps(comparableWith(written), written) > 0
  if (state.isPurged === true || type === 'delete') return isNewerThan(latestOf(state))
  if (!isNewerThan(state.lastInsertAt)) return false
  if (type === 'insert') return true
  return Object.keys(data ?? {}).some((field) =>
    isNewerThan(ownValue(state.fieldVersions, field)?.timestamp ?? null),
  )
}

/** What a device has brought back of a snapshot as a change by this server. Without a sequence number (0). */
export function authorAnew(
  { type, collection, recordId, data, previousData, timestamp, schemaVersion }: Operation,
  { serverNodeId, clock }: Writer,
): Operation {
  const source = { collection, recordId, serverNodeId, schemaVersion }
  return author(source, type, clock.stampRightAfter(timestamp), {
    data,
    previousData: previousData === null ? null : without(previousData, data ?? {}),
  })
}

/** Given as the values before, those of the change itself would keep others from being replaced. */
function without(values: FieldValues, others: FieldValues): FieldValues {
  return Object.fromEntries(Object.entries(values).filter(([field]) => !Object.hasOwn(others, field)))
}
