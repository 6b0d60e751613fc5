import type { Operation } from '../../core/operation.ts'
import { replayRecord } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import type { PlannedRecord } from './batch-overlay.ts'
import type { Loading } from './load.ts'

/**
 * The record with an operation that came too late to be folded on top of the state: its history is
 * folded anew, which is read once per batch.
 */
export function* foldHistory(
  record: PlannedRecord,
  operation: Operation,
  collection: CollectionDefinition | null,
): Loading<RecordState> {
  const history = yield* loadHistory(record)
  const replayed = replayRecord([...history, ...record.applied, operation], collection)
  if (replayed === null)
    throw new Error(`Replay of ${operation.collection}/${operation.recordId} gave nothing`)
  return replayed
}

function* loadHistory(record: PlannedRecord): Loading<readonly Operation[]> {
  if (record.history !== null) return record.history
  const loaded = yield { operations: [], records: [], histories: [record] }
  record.history = loaded.histories.get(record) ?? []
  return record.history
}
