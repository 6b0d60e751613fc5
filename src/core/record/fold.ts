import { compareOperations } from '../clock.ts'
import type { Operation } from '../operation.ts'
import type { CollectionDefinition } from '../schema/types.ts'
import { createDraft, draftOf, foldInto } from './fold-step.ts'
import { foldLateOperation } from './late-operation.ts'
import type { RecordState } from './state.ts'

/**
 * The record after one more operation that is newer than all before. The given state stays as it is.
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
 * The record after one more operation, whenever it arrives: exactly what the replay of all of them
 * gives, or `needs-replay` when that cannot be told without the earlier operations.
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
 * The record that all its operations give, in whatever order they are passed.
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
