import type { Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { Refusal } from '../../core/refusal.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import type { Loading } from '../append/load.ts'
import { PendingChanges, refuseConstraints, wantForConstraints } from './constraints.ts'
import { rulesOf } from './integrity-rules.ts'
import type { LiveRecords } from './live-records.ts'
import type { FindableState } from './lookup-index.ts'
import { type AffectedRecord, findAffected } from './references.ts'
import { authorSideEffect, type SideEffect, type SideEffectContext } from './side-effect.ts'

export interface Deletion {
  readonly record: PlannedRecord
  readonly operation: Operation
  /** The record after the operation. */
  readonly after: RecordState
}

/**
 * Plans what the relations of the schema require when a record is deleted. The resulting deletions and updates are
 * the server's own, so they are not bound by what the author of the deletion may write.
 *
 * Nothing is changed here, so a refusal has no effects.
 */
export function* planDeletion(
  deletion: Deletion,
  live: LiveRecords,
  schema: SchemaDefinition,
  context: SideEffectContext,
): Loading<{ readonly refusal: Refusal } | { readonly sideEffects: readonly SideEffect[] }> {
  const affected = yield* findAffected([deletion.record], live, schema)
  if (!isList(affected)) return { refusal: affected }
  wantForCleared(affected, live, schema)
  const sideEffects = authorSideEffects(deletion, affected, context)
  const refusal = yield* refuseCleared(deletion, sideEffects, live, schema)
  return refusal === null ? { sideEffects } : { refusal }
}

/** Notes what the constraints will ask for on records whose references are set to null. */
export function wantForCleared(
  affected: readonly AffectedRecord[],
  live: LiveRecords,
  schema: SchemaDefinition,
): void {
  const cleared = new Map<PlannedRecord, FindableState>()
  for (const { record, relation } of affected) {
    const rules = rulesOf(schema, record.collection)
    const state = cleared.get(record) ?? record.state
    if (relation.onDelete === 'cascade' || rules === null || state === null) continue
    const after = { ...state, values: { ...state.values, [relation.field]: null } }
    cleared.set(record, after) // a record with several such fields is judged with all of them
    wantForConstraints({ rules, record, before: record.state, after, writeScope: null }, live)
  }
}

function authorSideEffects(
  { record, operation }: Deletion,
  affected: readonly AffectedRecord[],
  context: SideEffectContext,
): SideEffect[] {
  const deletedBy = new Map([[record, operation.id]])
  const states = new Map<PlannedRecord, RecordState>()
  const sideEffects: SideEffect[] = []
  for (const { record: referring, relation, target } of affected) {
    const state = states.get(referring) ?? referring.state
    const causeId = deletedBy.get(target)
    if (state === null || causeId === undefined) continue // only live records are found, in causal order
    const values = relation.onDelete === 'cascade' ? null : { [relation.field]: null }
    const sideEffect = authorSideEffect(referring, values, { operation, causeId, state }, context)
    states.set(referring, sideEffect.after)
    if (values === null) deletedBy.set(referring, sideEffect.operation.id)
    sideEffects.push(sideEffect)
  }
  return sideEffects
}

/** Refuses the deletion where clearing a reference would violate a constraint on null. */
function* refuseCleared(
  deletion: Deletion,
  sideEffects: readonly SideEffect[],
  live: LiveRecords,
  schema: SchemaDefinition,
): Loading<Refusal | null> {
  const pending = new PendingChanges()
  for (const { record, after } of [deletion, ...sideEffects]) {
    const rules = rulesOf(schema, record.collection)
    if (rules !== null) pending.set(record, rules, after)
  }
  for (const { record, operation, after } of sideEffects) {
    const rules = rulesOf(schema, record.collection)
    if (rules === null || rules.constraints.length === 0 || operation.type === 'delete') continue
    const change = { rules, record, before: record.state, after, writeScope: null }
    const refusal = yield* refuseConstraints(change, live, pending)
    if (refusal !== null) return refusal
  }
  return null
}

/** True for affected records, false for a refusal. */
export function isList(value: readonly AffectedRecord[] | Refusal): value is readonly AffectedRecord[] {
  return Array.isArray(value)
}
