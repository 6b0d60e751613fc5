import type { RecordState } from '../../core/record/state.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import { isVisible, type View } from '../../core/view.ts'
import { planStreams } from '../delivery/plan-streams.ts'
import { isMissing } from '../delivery/read-page.ts'
import { checkDeliveryQuery } from '../delivery/tracked-fields.ts'
import type { DeliveryPage, DeliveryQuery, LogEntry, StoredVersions } from '../store.ts'
import type { PostgresCore } from './postgres-core.ts'
import { readPage } from './read-page.ts'

/** @see ServerStore.readDelivery */
export function readDelivery(core: PostgresCore, query: DeliveryQuery): Promise<DeliveryPage> {
  return readVisible(core, query, (entry) => isVisible(entry, query.view))
}

/** @see ServerStore.readMissing */
export function readMissing(
  core: PostgresCore,
  vector: VersionVector,
  query: DeliveryQuery,
): Promise<DeliveryPage> {
  return readVisible(core, query, isMissing(vector, query.view))
}

/** @see ServerStore.readEntries */
export async function readEntries(
  core: PostgresCore,
  sequences: readonly number[],
  view: View,
): Promise<readonly LogEntry[]> {
  const { lostConnections } = core.db
  const entries = await core.log.readEntries(sequences, Number.MAX_SAFE_INTEGER)
  if (core.db.lostConnections !== lostConnections) return readEntries(core, sequences, view)
  const visible = entries.filter((entry) => isVisible(entry, view))
  const bySequence = new Map(visible.map((entry) => [entry.deliverySequence, entry]))
  return sequences.flatMap((sequence) => bySequence.get(sequence) ?? [])
}

/** @see ServerStore.readLog */
export async function readLog(
  { log }: PostgresCore,
  query: Pick<DeliveryQuery, 'after' | 'limit' | 'maxBytes'>,
): Promise<DeliveryPage> {
  checkDeliveryQuery(query)
  const end = await log.readEnd()
  return readPage(log, { end, streams: null, accepts: () => true }, query)
}

/** @see ServerStore.readRecordValues */
export async function readRecordValues(
  { log }: PostgresCore,
  collection: string,
  ids: readonly string[],
): Promise<Map<string, Pick<RecordState, 'values' | 'isDeleted'>>> {
  const found = new Map<string, Pick<RecordState, 'values' | 'isDeleted'>>()
  for (const { recordId, state } of await log.findRecords(collection, ids)) {
    if (state.isPurged === true) continue
    found.set(recordId, { values: state.values, isDeleted: state.isDeleted })
  }
  return found
}

/** @see ServerStore.readFieldVersions */
export async function readFieldVersions(
  { log }: PostgresCore,
  collection: string,
  recordId: string,
): Promise<StoredVersions | null> {
  const [record] = await log.findRecords(collection, [recordId])
  return record === undefined || record.state.isPurged === true ? null : record.state
}

async function readVisible(
  core: PostgresCore,
  query: DeliveryQuery,
  accepts: (entry: LogEntry) => boolean,
): Promise<DeliveryPage> {
  checkDeliveryQuery(query)
  const { lostConnections } = core.db
  const { deliverySequence: end, collections } = await core.log.readEndWithCollections()
  const streams = planStreams(query.view, core.settings.tracked, collections)
  const page = await readPage(core.log, { end, streams, accepts }, query)
  // Entries read since may be from a host whose log has no such index.
  return core.db.lostConnections === lostConnections ? page : readVisible(core, query, accepts)
}
