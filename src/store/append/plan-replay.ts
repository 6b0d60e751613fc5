import type { Operation } from '../../core/operation.ts'
import { replayRecord } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import { corrupt } from '../damage/corrupt.ts'
import type { PlannedEntry, PlannedRecord } from './batch-overlay.ts'
import type { RecordKey } from './load.ts'
import { type AppendContext, snapshotEntries } from './plan-append.ts'
import { gainsViews, scopeChangesOf } from './scope-changes.ts'

/** A record of the store; its state is null where that cannot be read. */
export interface ReplayedRecord extends RecordKey {
  readonly ref: number
  readonly state: RecordState | null
}

/**
 * A record folded again from its log, by the schema as it is now, with snapshots for the views that gain it.
 *
 * @param history its operations, and the traces of those that were dropped
 * @throws StoreError `STORE_CORRUPT` when it has neither a state nor operations
 */
export function planReplay(
  { collection, recordId, ref, state: before }: ReplayedRecord,
  history: readonly Operation[],
  context: AppendContext,
): { readonly record: PlannedRecord; readonly entries: readonly PlannedEntry[] } {
  const state = replayRecord(history, context.collection(collection)) ?? before
  if (state === null) throw corrupt(`Record ${collection}/${recordId} has neither a state nor operations.`)
  const record: PlannedRecord = {
    collection,
    recordId,
    ref,
    state,
    isChanged: true,
    applied: [],
    history: null,
  }
  // Another fold may give a field that decides about visibility another value.
  // A state that is lost is taken to have been the same, so that views do not gain the record once more.
  const scopeChanges = scopeChangesOf(before ?? state, state, context.trackedFields(collection), null)
  if (!gainsViews(scopeChanges)) return { record, entries: [] }
  const gained = { state, scopeChanges, schemaVersion: context.schema?.version ?? 1 }
  return { record, entries: snapshotEntries(record, gained, context) }
}
