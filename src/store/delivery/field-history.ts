import type { FieldValues, Operation } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import { applyOperation } from '../../core/record/fold.ts'
import { FoldedHistory } from '../../core/record/folded-history.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import type { ScopeChange } from '../../core/view.ts'
import { isLateInsert, scopeChangesOf } from '../append/scope-changes.ts'

/** What one record's entries tell of a field that was not tracked when they were stored. */
export interface FieldHistory {
  /** One per operation; undefined where the field is missing. */
  readonly changes: readonly (ScopeChange | undefined)[]
  /**
   * The indices of the operations that changed the field's value on the existing record, or that are its late insert:
   * before a late insert, clients dropped updates because they lacked the record. null where this is not known.
   */
  readonly moves: readonly number[] | null
}

/**
 * Tells how each operation of a record left the field, as it would have been noted when it was stored: by the state of
 * the record after the operations committed until then.
 *
 * For a compacted record that has changed the field, it is no longer known which views showed it when: then no view is
 * shown the operations, and the views that show the record now get it from a snapshot.
 *
 * @param operations the record's, in commit order
 * @param isCompacted operations of the record were dropped
 */
export function fieldHistoryOf(
  operations: readonly Operation[],
  field: string,
  collection: CollectionDefinition | null,
  isCompacted: boolean,
): FieldHistory {
  if (isCompacted && operations.some((operation) => changesField(operation, field))) {
    return { changes: operations.map(() => undefined), moves: null }
  }
  const changes: (ScopeChange | undefined)[] = []
  const moves: number[] = []
  let before: RecordState | null = null
  const relevant = dependsOnOthers(field, collection)
    ? operations
    : operations.map((operation) => onlyField(operation, field))
  for (const { operation, after } of statesAfterEach(relevant, collection)) {
    const change: ScopeChange | undefined = scopeChangesOf(before, after, [field], operation)[0]
    const isMove = change !== undefined && (change.before !== undefined || isLateInsert(before, operation))
    if (isMove) moves.push(changes.length)
    changes.push(change)
    before = after
  }
  return { changes, moves }
}

/** The record after each operation. What comes too late to be folded on top folds what is later than itself. */
function* statesAfterEach(
  operations: readonly Operation[],
  collection: CollectionDefinition | null,
): Generator<{ operation: Operation; after: RecordState }> {
  let state: RecordState | null = null
  let history: FoldedHistory | null = null
  let inHistory = 0
  for (const [index, operation] of operations.entries()) {
    const applied: RecordState | 'needs-replay' = applyOperation(state, operation, collection)
    if (applied === 'needs-replay') {
      history ??= new FoldedHistory([], collection)
      for (const earlier of operations.slice(inHistory, index)) history.add(earlier)
      inHistory = index
      state = history.stateWith(operation)
    } else {
      state = applied
    }
    yield { operation, after: state }
  }
}

function changesField({ type, data }: Operation, field: string): boolean {
  return type !== 'insert' && data !== null && Object.hasOwn(data, field)
}

/** Numbers that are merged take part in a merge when another field of the same update is in conflict. */
function dependsOnOthers(field: string, collection: CollectionDefinition | null): boolean {
  const strategy = ownValue(collection?.fields ?? {}, field)?.mergeStrategy ?? null
  return strategy === 'counter' || strategy === 'max' || strategy === 'min'
}

/**
 * The operation as far as it concerns the field. A late write to one scalar is slipped in, where
 * one that also touches lists or texts would have the whole history folded again.
 */
function onlyField(operation: Operation, field: string): Operation {
  const { data, atomicOps, ...identity } = operation
  const atomicOp = ownValue(atomicOps ?? {}, field)
  return {
    ...identity,
    data: data === null || isEncryptedPayload(data) ? data : pick(data, field),
    ...(atomicOp !== undefined && { atomicOps: { [field]: atomicOp } }),
  }
}

function pick(data: FieldValues, field: string): FieldValues {
  const value = ownValue(data, field)
  return value === undefined ? {} : { [field]: value }
}
