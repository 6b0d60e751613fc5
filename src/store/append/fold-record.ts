import type { Operation } from '../../core/operation.ts'
import { applyOperation, replayRecord } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import type { PlannedRecord } from './batch-overlay.ts'
import type { Loading } from './load.ts'

/**
 * The record after one more operation. In order of the clocks, as nearly all arrive, it is folded
 * on top of the state; one that arrives late and cannot be slipped in folds the record's history
 * again, which is read once per batch.
 */
export function* foldIntoRecord(
  record: PlannedRecord,
  operation: Operation,
  collection: CollectionDefinition | null,
): Loading<RecordState> {
  const next = applyOperation(record.state, operation, collection)
  if (next !== 'needs-replay') return next
  const history = yield* loadHistory(record)
  const replayed = replayRecord([...history, ...record.applied, operation], collection)
  if (replayed === null)
    throw new Error(`Replay of ${operation.collection}/${operation.recordId} gave nothing`)
  return replayed
}

function* loadHistory(record: PlannedRecord): Loading<readonly Operation[]> {
  if (record.history !== null) return record.history
  const loaded = yield { operationIds: [], records: [], histories: [record] }
  record.history = loaded.histories.get(record) ?? []
  return record.history
}
