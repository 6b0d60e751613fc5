import type { FieldValues, JsonValue, Operation, OperationType } from '../../core/operation.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { Refusal } from '../../core/refusal.ts'
import { type InvalidTransition, refuseTransition } from '../../core/schema/state-machine.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { ScopeMap } from '../../core/scope.ts'
import type { BatchOverlay, PlannedRecord } from '../append/batch-overlay.ts'
import type { Loading, RecordKey } from '../append/load.ts'
import { RecordMap } from '../append/record-map.ts'
import { withoutBranches } from './branches.ts'
import { refuseConstraints, relationTargetsOf, wantForConstraints } from './constraints.ts'
import { isList, planDeletion, wantForCleared } from './deletion.ts'
import { type CollectionRules, rulesOf } from './integrity-rules.ts'
import { LiveRecords } from './live-records.ts'
import { type FindableState, isFindable } from './lookup-index.ts'
import { findAffected } from './references.ts'
import { authorCorrection, type SideEffect, type SideEffectContext } from './side-effect.ts'
import { findInvalidTransitions, findTiedChanges } from './transitions.ts'

export interface IntegrityContext extends SideEffectContext {
  readonly schema: SchemaDefinition | null
  isServerNode(nodeId: string): boolean
}

/** The effect of an operation on its record. */
export interface JudgedChange {
  readonly operation: Operation
  readonly record: PlannedRecord
  readonly before: RecordState | null
  readonly after: RecordState
  readonly writeScope: ScopeMap | null
}

/** Why the operation is not stored, or what the server does as a consequence. */
export type IntegrityVerdict = { readonly refusal: Refusal } | { readonly sideEffects: readonly SideEffect[] }

/** A requested change whose outcome is not known yet. */
export interface ExpectedChange extends RecordKey {
  readonly type: OperationType
  readonly data: FieldValues | null
  readonly writeScope: ScopeMap | null
}

export const NO_SIDE_EFFECTS: IntegrityVerdict = { sideEffects: [] }

/**
 * Enforces the rules of the schema (constraints, relations, state machines) while a batch is planned. They are
 * judged by what records become, not by what operations say, and on the records as the batch has left them so far.
 *
 * @see docs/constraints.md
 */
export class BatchIntegrity {
  readonly #overlay: BatchOverlay
  readonly #context: IntegrityContext
  readonly #live: LiveRecords

  constructor(overlay: BatchOverlay, context: IntegrityContext) {
    this.#overlay = overlay
    this.#context = context
    this.#live = new LiveRecords(overlay)
  }

  /** Adds the store's answer to `referencesOf`. */
  noteReferences(keys: readonly RecordKey[], states: readonly (RecordState | null)[]): void {
    this.#live.noteReferences(keys, states)
  }

  /**
   * Loads what the changes will most likely need, together: a database then answers a batch of any size in one
   * round trip, plus one for each level of cascading deletions. Anything else, because a change is late or an
   * earlier one is refused, is loaded when it is needed.
   */
  *prepare(changes: readonly ExpectedChange[]): Loading<void> {
    const { schema } = this.#context
    if (schema === null) return
    const expected = new Map<PlannedRecord, FindableState | null>()
    const deleted: PlannedRecord[] = []
    for (const change of changes) {
      const rules = rulesOf(schema, change.collection)
      if (rules === null || isEncryptedPayload(change.data)) continue
      const record = this.#overlay.record(change)
      const before = expected.get(record) ?? record.state
      const after = expectState(before, change)
      expected.set(record, after)
      wantForConstraints({ rules, record, before, after, writeScope: change.writeScope }, this.#live)
      if (rules.incoming.length > 0 && isFindable(before) && after.isDeleted) deleted.push(record)
    }
    const affected = deleted.length > 0 ? yield* findAffected(deleted, this.#live, schema) : []
    if (isList(affected)) wantForCleared(affected, this.#live, schema)
    yield* this.#live.fetch()
  }

  /** True when the schema has rules for the collection, so that operations on it have to be judged. */
  hasRules(collection: string): boolean {
    return rulesOf(this.#context.schema, collection) !== null
  }

  /** Judges an operation by the resulting state of its record. */
  *judge(change: JudgedChange): Loading<IntegrityVerdict> {
    const { operation, record, before, after, writeScope } = change
    const { schema } = this.#context
    const rules = rulesOf(schema, record.collection)
    if (schema === null || rules === null) return NO_SIDE_EFFECTS
    if (after.isDeleted) {
      const isDeletion = before !== null && !before.isDeleted && rules.incoming.length > 0
      if (!isDeletion) return NO_SIDE_EFFECTS
      return yield* planDeletion({ record, operation, after }, this.#live, schema, this.#context)
    }
    const suspects = findInvalidTransitions(rules, operation, before, after)
    const invalid =
      suspects.length === 0
        ? suspects
        : yield* withoutBranches(suspects, { operation, record, definition: rules.definition })
    const rejected = invalid.find(({ policy }) => policy === 'reject')
    if (rejected !== undefined) return { refusal: refuseTransition(record.collection, rejected) }
    const sideEffects = this.#correct(invalid, change, rules)
    const final = sideEffects.at(-1)?.after ?? after
    const refusal = yield* refuseConstraints({ rules, record, before, after: final, writeScope }, this.#live)
    return refusal === null ? { sideEffects } : { refusal }
  }

  /** Notes what the batch has made of a record. */
  note(record: PlannedRecord, before: RecordState | null, after: RecordState): void {
    const rules: CollectionRules | null = rulesOf(this.#context.schema, record.collection)
    if (rules !== null && rules.indexes.length > 0) this.#live.note(record, rules.indexes, before, after)
  }

  /** Resets invalid states, and repeats changes that an earlier correction has overruled. */
  #correct(
    invalid: readonly InvalidTransition[],
    { record, operation, after }: JudgedChange,
    rules: CollectionRules,
  ): readonly SideEffect[] {
    const setBack = invalid.map(({ field, from }): [string, JsonValue] => [field, from])
    const tied = findTiedChanges(rules, operation, after, this.#context)
    const values = { ...tied, ...Object.fromEntries(setBack) }
    if (Object.keys(values).length === 0) return []
    const cause = { operation, causeId: operation.id, state: after }
    return [authorCorrection(record, values, cause, this.#context)]
  }
}

/** The records that the changes refer to by relations, on which the verdict depends. */
export function referencesOf(
  changes: readonly ExpectedChange[],
  schema: SchemaDefinition | null,
): RecordKey[] {
  const references = new RecordMap<RecordKey>()
  for (const change of changes) {
    const rules = rulesOf(schema, change.collection)
    if (rules === null || rules.outgoing.length === 0 || isEncryptedPayload(change.data)) continue
    const targets = relationTargetsOf(rules, expectState(null, change), change.writeScope)
    for (const target of targets) references.set(target, target)
  }
  return references.values()
}

/** The record after a change that is newer than everything in it, as most are. */
function expectState(before: FindableState | null, { type, data }: ExpectedChange): FindableState {
  const isSealed = before?.isSealed ?? false
  if (type === 'delete') return { values: before?.values ?? {}, isDeleted: true, isSealed }
  if (type === 'insert') return { values: { ...data }, isDeleted: false, isSealed: false }
  return { values: { ...before?.values, ...data }, isDeleted: false, isSealed }
}
