import type { Operation } from '../../core/operation.ts'
import { replayRecord } from '../../core/record/fold.ts'
import type { PlannedEntry, PlannedRecord } from './batch-overlay.ts'
import type { RecordKey, StoredRecord } from './load.ts'
import { type AppendContext, snapshotEntries } from './plan-append.ts'
import { gainsViews, scopeChangesOf } from './scope-changes.ts'

/**
 * A record folded again from its log, by the schema as it is now, with snapshots for the views that gain it.
 *
 * @param history its operations, and the traces of those that were dropped
 */
export function planReplay(
  { collection, recordId, ref, state: before }: RecordKey & StoredRecord,
  history: readonly Operation[],
  context: AppendContext,
): { readonly record: PlannedRecord; readonly entries: readonly PlannedEntry[] } {
  const state = replayRecord(history, context.collection(collection)) ?? before
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
  const scopeChanges = scopeChangesOf(before, state, context.trackedFields(collection), null)
  if (!gainsViews(scopeChanges)) return { record, entries: [] }
  const gained = { state, scopeChanges, schemaVersion: context.schema?.version ?? 1 }
  return { record, entries: snapshotEntries(record, gained, context) }
}
