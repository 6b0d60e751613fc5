import { compareTimestamps, serializeTimestamp } from '../../core/clock.ts'
import type { JsonValue, Operation, Timestamp } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import { authorOperation, pickValues } from './server-operation.ts'

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
 * get the same ids again. That is intended: clients that have them already ignore them.
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

/** Authors the operations that build the record, without sequence numbers (0). None when it is encrypted. */
export function authorSnapshot(source: SnapshotSource): Operation[] {
  const { state } = source
  if (state.isEncrypted) return []
  const writes = groupByWrite(state)
  const tracked = pickValues(state.values, source.trackedFields)
  const operations: Operation[] = []
  if (state.lastInsertAt !== null) {
    const whole = { data: { ...state.values }, previousData: null }
    operations.push(authorOperation(source, 'insert', state.lastInsertAt, whole))
  }
  for (const { timestamp, values } of writes) {
    if (state.lastInsertAt !== null && compareTimestamps(timestamp, state.lastInsertAt) <= 0) continue
    operations.push(
      authorOperation(source, 'update', timestamp, { data: values, previousData: { ...tracked, ...values } }),
    )
  }
  if (state.isDeleted && state.lastDeleteAt !== null) {
    operations.push(
      authorOperation(source, 'delete', state.lastDeleteAt, { data: null, previousData: tracked }),
    )
  }
  return operations
}

interface Write {
  readonly timestamp: Timestamp
  readonly values: Record<string, JsonValue>
}

/** Groups the present values by the write that they come from, in clock order. */
function groupByWrite({ values, fieldVersions, newest }: RecordState): Write[] {
  const writesByTime = new Map<string, Write>()
  for (const field of Object.keys(values)) {
    const timestamp = fieldVersions[field]?.timestamp ?? newest.timestamp
    const key = serializeTimestamp(timestamp)
    let write = writesByTime.get(key)
    if (write === undefined) {
      write = { timestamp, values: Object.create(null) as Record<string, JsonValue> }
      writesByTime.set(key, write)
    }
    write.values[field] = values[field] ?? null
  }
  return [...writesByTime.values()].sort((a, b) => compareTimestamps(a.timestamp, b.timestamp))
}
