import type { FieldValues, Operation } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import { applyOperation } from '../../core/record/fold.ts'
import { FoldedHistory } from '../../core/record/folded-history.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { changeOf, type ScopeChange, type ScopeChanges } from '../../core/view.ts'
import { isLateInsert, scopeChangesOf } from '../append/scope-changes.ts'

/** What one record's entries tell of a field that was not tracked when they were stored. */
export interface FieldHistory {
  /** One per operation; undefined where the field is missing. */
  readonly changes: readonly (ScopeChange | undefined)[]
  /**
   * The last change of the field's value on the existing record, or the insert of it that came late: behind that,
   * who sees the record lacks the updates that clients have dropped for the lack of it. undefined when there was none.
   */
  readonly lastMove: ScopeChange | undefined
}

/**
 * How each operation of a record left the field, as it would have been noted when it was stored:
 * by the state of the record after the operations committed until then.
 *
 * For a compacted record that has changed the field, it is no longer known who could see it when:
 * then nobody is shown the operations, and who may see the record now gets it from a snapshot.
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
    return {
      changes: operations.map(() => undefined),
      lastMove: { field, after: undefined, before: { key: undefined } },
    }
  }
  const changes: (ScopeChange | undefined)[] = []
  let lastMove: ScopeChange | undefined
  let before: RecordState | null = null
  const relevant = dependsOnOthers(field, collection)
    ? operations
    : operations.map((operation) => onlyField(operation, field))
  for (const { operation, after } of statesAfterEach(relevant, collection)) {
    const change: ScopeChange | undefined = scopeChangesOf(before, after, [field], operation)[0]
    changes.push(change)
    if (change?.before !== undefined) lastMove = change
    else if (change !== undefined && isLateInsert(before, operation)) {
      lastMove = { ...change, before: { key: undefined } }
    }
    before = after
  }
  return { changes, lastMove }
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
  const present = scopeChangesOf(null, state, trackedFields, null)
  const after = changeOf(present, field)?.after
  if (lastMove?.before === undefined || after === undefined) return null
  return withFieldChange(present, { field, after, before: lastMove.before })
}

/** The changes with those of a field that has been tracked since. */
export function withFieldChange(changes: ScopeChanges, change: ScopeChange): ScopeChanges {
  return [...changes.filter(({ field }) => field !== change.field), change]
}
