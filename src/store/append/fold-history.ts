import type { Operation } from '../../core/operation.ts'
import { FoldedHistory } from '../../core/record/folded-history.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import type { PlannedRecord } from './batch-overlay.ts'
import type { Loading } from './load.ts'

/**
 * The record with an operation that came too late to be folded on top of the state. Its history is
 * folded once per batch; further late operations fold again only what is later than they are.
 */
export function* foldHistory(
  record: PlannedRecord,
  operation: Operation,
  collection: CollectionDefinition | null,
): Loading<RecordState> {
  const history = yield* historyOf(record, collection)
  return history.stateWith(operation)
}

/** All operations of the record, with those of the batch so far. They are read once per batch. */
export function* historyOf(
  record: PlannedRecord,
  collection: CollectionDefinition | null,
): Loading<FoldedHistory> {
  record.history ??= yield* loadHistory(record, collection)
  const { history } = record
  for (const applied of record.applied.slice(history.addedCount)) history.add(applied)
  return history
}

function* loadHistory(
  record: PlannedRecord,
  collection: CollectionDefinition | null,
): Loading<FoldedHistory> {
  const loaded = yield { operations: [], records: [], histories: [record] }
  return new FoldedHistory(loaded.histories.get(record) ?? [], collection)
}
