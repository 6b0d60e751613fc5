import type { RecordState } from '../../core/record/state.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import { isVisible } from '../../core/view.ts'
import { planStreams } from '../delivery/plan-streams.ts'
import { isMissing, type LogSource, type ReadEntry, readPage } from '../delivery/read-page.ts'
import { checkDeliveryQuery } from '../delivery/tracked-fields.ts'
import type { DeliveredEntry, DeliveryPage, DeliveryQuery } from '../store.ts'
import type { ChecksummedRow } from './entry-row.ts'
import type { SqliteCore } from './sqlite-core.ts'

/** @see ServerStore.readDelivery */
export function readDelivery(core: SqliteCore, query: DeliveryQuery): DeliveryPage<DeliveredEntry> {
  return readVisible(core, query, (entry) => isVisible(entry, query.view))
}

/** @see ServerStore.readMissing */
export function readMissing(
  core: SqliteCore,
  vector: VersionVector,
  query: DeliveryQuery,
): DeliveryPage<DeliveredEntry> {
  return readVisible(core, query, isMissing(vector, query.view))
}

/** @see ServerStore.readLog */
export function readLog(
  core: SqliteCore,
  query: Pick<DeliveryQuery, 'after' | 'limit' | 'maxBytes'>,
): DeliveryPage {
  checkDeliveryQuery(query)
  const source = logSource(core, (row) => core.log.toEntry(row))
  return readPage(source, null, () => true, query)
}

/** @see ServerStore.readRecordValues */
export function readRecordValues(
  { log }: SqliteCore,
  collection: string,
  ids: readonly string[],
): Map<string, Pick<RecordState, 'values' | 'isDeleted'>> {
  const found = new Map<string, Pick<RecordState, 'values' | 'isDeleted'>>()
  for (const recordId of ids) {
    const record = log.records.find({ collection, recordId })
    if (record === undefined || record.state.isPurged === true) continue
    found.set(recordId, { values: record.state.values, isDeleted: record.state.isDeleted })
  }
  return found
}

/** What an entry did to scopes is parsed only where the view asks. */
function readVisible(
  core: SqliteCore,
  query: DeliveryQuery,
  accepts: (entry: ReadEntry) => boolean,
): DeliveryPage<DeliveredEntry> {
  checkDeliveryQuery(query)
  const { view } = query
  const source = logSource(core, (row) => core.log.toReadEntry(row, view.isSelective))
  return readPage(source, planStreams(view, core.tracked, core.collections.all()), accepts, query)
}

function logSource<Entry extends ReadEntry>(
  core: SqliteCore,
  toEntry: (row: ChecksummedRow) => Entry,
): LogSource<Entry> {
  const { log } = core
  return {
    end: core.counters().deliverySequence,
    readSequences: (key, after, limit) => log.scope.read(key, after, limit),
    readEntries: (sequences) => log.readRows(sequences).map(toEntry),
    scanEntries: (after, limit) => log.scanRows(after, limit).map(toEntry),
  }
}
