import { compareTimestamps } from '../../core/clock.ts'
import type { FieldValues, Operation, Timestamp } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import { latestOf } from './author-write.ts'
import type { ServerClock } from './server-clock.ts'
import { authorOperation } from './server-operation.ts'

/*
 * A server that was restored from a backup may lack a record whose authors never return, but of which a device holds
 * the snapshot. So the parts of a returned snapshot that are newer than anything stored are written anew: as a change
 * by this server, stamped directly behind the write that the values come from. If that write returns, too, the two
 * result in the values of the snapshot, which already contain atomic changes and merges.
 */

/** The server that writes a returned snapshot anew. */
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

/** Authors the returned part of a snapshot as a change by this server, without a sequence number (0). */
export function authorReturnedSnapshot(
  { type, collection, recordId, data, previousData, timestamp, schemaVersion }: Operation,
  { serverNodeId, clock }: Writer,
): Operation {
  const source = { collection, recordId, serverNodeId, schemaVersion }
  return authorOperation(source, type, clock.stampRightAfter(timestamp), {
    data,
    previousData: previousData === null ? null : without(previousData, data ?? {}),
  })
}

/** Leaves out the change's own values: given as the values before, they would keep others from being replaced. */
function without(values: FieldValues, others: FieldValues): FieldValues {
  return Object.fromEntries(Object.entries(values).filter(([field]) => !Object.hasOwn(others, field)))
}
