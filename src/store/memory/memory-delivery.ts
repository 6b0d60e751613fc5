import type { RecordState } from '../../core/record/state.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import { isVisible, type View } from '../../core/view.ts'
import { planStreams } from '../delivery/plan-streams.ts'
import { isMissing, type ReadEntry, readPage } from '../delivery/read-page.ts'
import { checkDeliveryQuery } from '../delivery/tracked-fields.ts'
import type { DeliveryPage, DeliveryQuery, LogEntry, StoredVersions } from '../store.ts'
import type { MemoryLog } from './memory-log.ts'

/** @see ServerStore.readDelivery */
export function readDelivery(log: MemoryLog, query: DeliveryQuery): DeliveryPage {
  return readVisible(log, query, (entry) => isVisible(entry, query.view))
}

/** @see ServerStore.readMissing */
export function readMissing(log: MemoryLog, vector: VersionVector, query: DeliveryQuery): DeliveryPage {
  return readVisible(log, query, isMissing(vector, query.view))
}

/** @see ServerStore.readEntries */
export function readEntries(log: MemoryLog, sequences: readonly number[], view: View): LogEntry[] {
  return log.readEntries(sequences).filter((entry) => isVisible(entry, view))
}

/** @see ServerStore.readLog */
export function readLog(
  log: MemoryLog,
  query: Pick<DeliveryQuery, 'after' | 'limit' | 'maxBytes'>,
): DeliveryPage {
  checkDeliveryQuery(query)
  return readPage(log, null, () => true, query)
}

/** @see ServerStore.readRecordValues */
export function readRecordValues(
  log: MemoryLog,
  collection: string,
  ids: readonly string[],
): Map<string, Pick<RecordState, 'values' | 'isDeleted'>> {
  const found = new Map<string, Pick<RecordState, 'values' | 'isDeleted'>>()
  for (const recordId of ids) {
    const state = log.record(collection, recordId)?.state
    if (state === undefined || state.isPurged === true) continue
    found.set(recordId, { values: state.values, isDeleted: state.isDeleted })
  }
  return found
}

/** @see ServerStore.readFieldVersions */
export function readFieldVersions(
  log: MemoryLog,
  collection: string,
  recordId: string,
): StoredVersions | null {
  const state = log.record(collection, recordId)?.state
  return state === undefined || state.isPurged === true ? null : state
}

function readVisible(
  log: MemoryLog,
  query: DeliveryQuery,
  accepts: (entry: ReadEntry) => boolean,
): DeliveryPage {
  checkDeliveryQuery(query)
  return readPage(log, planStreams(query.view, log.tracked, log.collections()), accepts, query)
}
