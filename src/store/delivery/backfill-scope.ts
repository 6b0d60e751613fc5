import type { Operation } from '../../core/operation.ts'
import { applyOperation, replayRecord } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import type { ScopeChange, ScopeChanges } from '../../core/view.ts'
import { scopeChangesOf } from '../append/scope-changes.ts'

/** What one record's entries tell of a field that was not tracked when they were stored. */
export interface FieldHistory {
  /** One per operation; undefined where the field is missing. */
  readonly changes: readonly (ScopeChange | undefined)[]
  /** The last change of the field's value on the existing record; undefined when it never changed. */
  readonly lastMove: ScopeChange | undefined
}

/**
 * How each operation of a record left the field, as it would have been noted when it was stored:
 * by the state of the record after the operations committed until then.
 *
 * @param operations the record's, in commit order
 */
export function fieldHistoryOf(
  operations: readonly Operation[],
  field: string,
  collection: CollectionDefinition | null,
): FieldHistory {
  const changes: (ScopeChange | undefined)[] = []
  let lastMove: ScopeChange | undefined
  let state: RecordState | null = null
  for (const [index, operation] of operations.entries()) {
    const next: RecordState | 'needs-replay' = applyOperation(state, operation, collection)
    const after = next === 'needs-replay' ? replayRecord(operations.slice(0, index + 1), collection) : next
    if (after === null) continue
    const change: ScopeChange | undefined = scopeChangesOf(state, after, [field])[field]
    changes.push(change)
    if (change?.before !== undefined) lastMove = change
    state = after
  }
  return { changes, lastMove }
}

/**
 * The record's moves of the past sent no snapshots, because nobody watched the field. When it is
 * tracked, each record that has moved gets one at the end of the log, seen by the views it has moved
 * into: those that match its present value, which is not the value it had before its last move.
 *
 * @returns what the snapshot tells of its visibility; null when no view has gained the record
 */
export function closingChangesOf(
  state: RecordState,
  trackedFields: readonly string[],
  field: string,
  { lastMove }: FieldHistory,
): ScopeChanges | null {
  const present = scopeChangesOf(null, state, trackedFields)
  const after = present[field]?.after
  if (lastMove?.before === undefined || after === undefined) return null
  return { ...present, [field]: { after, before: lastMove.before } }
}

/** The changes with one field's set. */
export function withFieldChange(
  changes: ScopeChanges,
  field: string,
  change: ScopeChange | undefined,
): ScopeChanges {
  const others = Object.fromEntries(Object.entries(changes).filter(([name]) => name !== field))
  return change === undefined ? others : { ...others, [field]: change }
}
