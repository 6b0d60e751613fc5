import { compareOperations } from '../clock.ts'
import type { Operation } from '../operation.ts'
import type { CollectionDefinition } from '../schema/types.ts'
import { createDraft, draftOf, foldInto } from './fold-step.ts'
import { foldLateOperation } from './late-operation.ts'
import type { RecordState } from './state.ts'

/**
 * Folds one more operation, which must be newer than all before. The given state does not change.
 *
 * @param state null: the record has no operation yet
 * @param collection null: no schema is known; every field is then last-write-wins
 */
export function foldOperation(
  state: RecordState | null,
  operation: Operation,
  collection: CollectionDefinition | null,
): RecordState {
  const draft = state === null ? createDraft(operation) : draftOf(state)
  foldInto(draft, operation, collection)
  return draft
}

/**
 * Folds one more operation, whenever it arrives. The result is exactly that of a replay of all operations, or
 * `needs-replay` where it cannot be determined without the earlier ones.
 */
export function applyOperation(
  state: RecordState | null,
  operation: Operation,
  collection: CollectionDefinition | null,
): RecordState | 'needs-replay' {
  if (state === null) return foldOperation(null, operation, collection)
  const { timestamp, operationId } = state.newest
  const order = compareOperations(operation, { timestamp, id: operationId })
  if (order > 0) return foldOperation(state, operation, collection)
  return order === 0 ? 'needs-replay' : foldLateOperation(state, operation, collection)
}

/**
 * Folds all operations of a record, in whatever order they are passed.
 *
 * @returns null when there are none
 */
export function replayRecord(
  operations: readonly Operation[],
  collection: CollectionDefinition | null,
): RecordState | null {
  const [first, ...others] = operations.toSorted(compareOperations)
  if (first === undefined) return null
  const draft = createDraft(first)
  foldInto(draft, first, collection)
  for (const operation of others) foldInto(draft, operation, collection)
  return draft
}
