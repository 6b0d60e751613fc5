import type { RecordState } from '../../core/record/state.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import { isVisible, type View } from '../../core/view.ts'
import { planStreams } from '../delivery/plan-streams.ts'
import { isMissing, type LogSource, type ReadEntry, readPage } from '../delivery/read-page.ts'
import { checkDeliveryQuery } from '../delivery/tracked-fields.ts'
import type { DeliveredEntry, DeliveryPage, DeliveryQuery, StoredVersions } from '../store.ts'
import type { ChecksummedRow } from './entry-row.ts'
import type { LogRows } from './log-rows.ts'
import type { SqliteCore } from './sqlite-core.ts'

/** What pages of the log are read from: the store and the rows, both as of one moment. */
export interface PageSource {
  readonly core: SqliteCore
  readonly rows: LogRows
}

/** @see ServerStore.readDelivery */
export function readDelivery(source: PageSource, query: DeliveryQuery): DeliveryPage<DeliveredEntry> {
  return readVisible(source, query, (entry) => isVisible(entry, query.view))
}

/** @see ServerStore.readMissing */
export function readMissing(
  source: PageSource,
  vector: VersionVector,
  query: DeliveryQuery,
): DeliveryPage<DeliveredEntry> {
  return readVisible(source, query, isMissing(vector, query.view))
}

/** @see ServerStore.readEntries */
export function readEntries(
  source: PageSource,
  sequences: readonly number[],
  view: View,
): readonly DeliveredEntry[] {
  const { log } = source.core
  const { readEntries: read } = logSource(source, (row) => log.toReadEntry(row, view.isSelective))
  return read(sequences).filter((entry) => isVisible(entry, view))
}

/** @see ServerStore.readLog */
export function readLog(
  source: PageSource,
  query: Pick<DeliveryQuery, 'after' | 'limit' | 'maxBytes'>,
): DeliveryPage {
  checkDeliveryQuery(query)
  const entries = logSource(source, (row) => source.core.log.toEntry(row))
  return readPage(entries, null, () => true, query)
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

/** @see ServerStore.readFieldVersions */
export function readFieldVersions(
  { log }: SqliteCore,
  collection: string,
  recordId: string,
): StoredVersions | null {
  const state = log.records.find({ collection, recordId })?.state
  return state === undefined || state.isPurged === true ? null : state
}

/** Reads a page of what the query may see. An entry's scope changes are parsed only if the view needs them. */
function readVisible(
  source: PageSource,
  query: DeliveryQuery,
  accepts: (entry: ReadEntry) => boolean,
): DeliveryPage<DeliveredEntry> {
  checkDeliveryQuery(query)
  const { core } = source
  const { view } = query
  const entries = logSource(source, (row) => core.log.toReadEntry(row, view.isSelective))
  return readPage(entries, planStreams(view, core.tracked, core.collections.all()), accepts, query)
}

function logSource<Entry extends ReadEntry>(
  { core, rows }: PageSource,
  toEntry: (row: ChecksummedRow) => Entry,
): LogSource<Entry> {
  return {
    end: core.counters().deliverySequence,
    readSequences: (key, after, limit) => core.log.scope.read(key, after, limit),
    readEntries: (sequences) => rows.read(sequences).map(toEntry),
    scanEntries: (after, limit) => rows.scan(after, limit).map(toEntry),
  }
}
