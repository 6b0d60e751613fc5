import type { JsonValue } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import { type Refusal, refuse } from '../../core/refusal.ts'
import { matchesScope, type ScopeMap } from '../../core/scope.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import type { Loading, RecordKey } from '../append/load.ts'
import type { CollectionRules, GroupRule, OutgoingRelation, ReferenceRule } from './integrity-rules.ts'
import { LiveIndex } from './live-index.ts'
import type { LiveRecords } from './live-records.ts'
import { type FindableState, isFindable, type LookupValue } from './lookup-index.ts'

/** A record as an operation found it, and as it would become. */
export interface RecordChange<State extends FindableState = FindableState> {
  readonly rules: CollectionRules
  readonly record: PlannedRecord
  readonly before: State | null
  readonly after: State | null
  /** The scopes of the author; null: unrestricted. */
  readonly writeScope: ScopeMap | null
}

/** Changes that will be made together with the one being checked. */
export class PendingChanges {
  readonly #states = new Map<PlannedRecord, FindableState>()
  readonly #live = new LiveIndex<PlannedRecord>()

  set(record: PlannedRecord, rules: CollectionRules, state: FindableState): void {
    this.#live.replace(record, rules.indexes, this.#states.get(record) ?? null, state)
    this.#states.set(record, state)
  }

  has(record: PlannedRecord): boolean {
    return this.#states.has(record)
  }

  /** Records that will belong to the group once the changes are made. */
  *membersOf(rule: GroupRule, key: string): Iterable<PlannedRecord> {
    for (const record of this.#live.find(rule.index, key)) {
      if (rule.keyOf(this.#states.get(record) ?? null) === key) yield record
    }
  }
}

const NOTHING_PENDING = new PendingChanges()

interface ReferenceDemand {
  readonly rule: ReferenceRule
  readonly reference: JsonValue
}

interface RelationDemand {
  readonly rule: OutgoingRelation
  readonly reference: JsonValue
}

/** One question that a constraint asks of the store. */
type Demand =
  | { readonly rule: GroupRule; readonly key: string; readonly values: readonly LookupValue[] }
  | ReferenceDemand
  | RelationDemand

/** Notes everything that `refuseConstraints` will ask for. */
export function wantForConstraints(change: RecordChange, live: LiveRecords): void {
  for (const demand of demandsOf(change)) wantForDemand(demand, live)
}

/**
 * Refuses a change that leaves the record in violation of a constraint. Only violations by the change itself count:
 * a record that violated a constraint before, because the constraint is newer than the data, can still be changed
 * in other respects.
 *
 * The message reveals nothing of other records except that a value is taken, which any refusal would reveal.
 */
export function* refuseConstraints(
  change: RecordChange,
  live: LiveRecords,
  pending: PendingChanges = NOTHING_PENDING,
): Loading<Refusal | null> {
  const demands = demandsOf(change)
  for (const demand of demands) wantForDemand(demand, live)
  for (const demand of demands) {
    const refusal =
      'key' in demand
        ? yield* refuseFullGroup(demand, change, live, pending)
        : yield* refuseReference(demand, change, live)
    if (refusal !== null) return refusal
  }
  return null
}

/** The groups and references that the change brings the record into. A wholly encrypted record has neither. */
function demandsOf({ rules, before, after, writeScope }: RecordChange): Demand[] {
  if (!isFindable(after)) return []
  const demands: Demand[] = []
  const present = isFindable(before) ? before : null
  for (const rule of rules.constraints) {
    if (rule.type === 'referential') {
      const reference = newReference(rule, present, after)
      if (reference !== null) demands.push({ rule, reference })
      continue
    }
    if (present !== null && isUntouched(rule, present, after)) continue
    const key = rule.keyOf(after)
    const values = rule.index.valuesOf(after)
    if (key !== null && values !== null && rule.keyOf(present) !== key) demands.push({ rule, key, values })
  }
  return rules.outgoing.length === 0
    ? demands
    : [...demands, ...relationDemandsOf(rules, present, after, writeScope)]
}

function relationDemandsOf(
  { outgoing }: CollectionRules,
  before: FindableState | null,
  after: FindableState,
  writeScope: ScopeMap | null,
): RelationDemand[] {
  const demands: RelationDemand[] = []
  for (const rule of outgoing) {
    if (!isGrantedInPart(rule.target, writeScope)) continue
    const reference = newReference(rule, before, after)
    if (reference !== null) demands.push({ rule, reference })
  }
  return demands
}

/** The records that the relations will ask for, as far as the written values show. */
export function relationTargetsOf(
  rules: CollectionRules,
  after: FindableState,
  writeScope: ScopeMap | null,
): RecordKey[] {
  if (!isFindable(after)) return []
  return relationDemandsOf(rules, null, after, writeScope)
    .map(targetOf)
    .filter((target) => target !== null)
}

function newReference(
  rule: ReferenceRule | OutgoingRelation,
  before: FindableState | null,
  after: FindableState,
): JsonValue {
  const reference = rule.referenceIn(after)
  return before !== null && rule.referenceIn(before) === reference ? null : reference
}

/**
 * True for a collection of which the author is granted a part. False for a hidden one, because it is unknown whose
 * its records are.
 */
function isGrantedInPart(collection: string | null, scope: ScopeMap | null): boolean {
  const filter = collection === null || scope === null ? undefined : ownValue(scope, collection)
  return filter !== undefined && Object.keys(filter).length > 0
}

/** True when none of the fields was written, which is nearly always so, and needs no key to be computed. */
function isUntouched({ watched }: GroupRule, before: FindableState, after: FindableState): boolean {
  if (before.isSealed !== after.isSealed) return false // what it does not hold was unknown, or is from now on
  return watched.every((field) => before.values[field] === after.values[field])
}

function wantForDemand(demand: Demand, live: LiveRecords): void {
  if ('key' in demand) {
    live.want(demand.rule.index, demand.values, demand.rule.max + 1)
    return
  }
  const target = targetOf(demand)
  if (target === null) return
  if (demand.rule.type === 'relation') live.wantReference(target)
  else live.wantRecord(target)
}

/** The record that is referred to; null when there cannot be one. */
function targetOf({ rule, reference }: ReferenceDemand | RelationDemand): RecordKey | null {
  if (rule.target === null || typeof reference !== 'string') return null
  return { collection: rule.target, recordId: reference }
}

function* refuseFullGroup(
  { rule, key, values }: Extract<Demand, { key: string }>,
  { rules, record }: RecordChange,
  live: LiveRecords,
  pending: PendingChanges,
): Loading<Refusal | null> {
  let joining = 0
  for (const other of pending.membersOf(rule, key)) if (other !== record) joining++
  const isMember = (other: PlannedRecord) =>
    other !== record && !pending.has(other) && rule.keyOf(other.state) === key
  const most = Math.max(0, rule.max - joining)
  const others = yield* live.count({ index: rule.index, values, most }, isMember)
  if (joining + others < rule.max) return null
  const reason =
    rule.max === 1
      ? 'another record has the same values'
      : `there may be ${rule.max} records with the same values, and there are`
  return violation(rules, rule, reason)
}

function* refuseReference(
  demand: ReferenceDemand | RelationDemand,
  { rules, writeScope }: RecordChange,
  live: LiveRecords,
): Loading<Refusal | null> {
  const { rule } = demand
  const target = targetOf(demand)
  const state = target === null ? null : yield* stateOfTarget(target, rule, live)
  const isOwn = target !== null && state !== null && matchesScope(state.values, target.collection, writeScope)
  return rule.type === 'relation'
    ? refuseForeignTarget(rule, state, isOwn)
    : refuseMissingTarget(rules, rule, isOwn && state?.isDeleted === false)
}

/**
 * The state of the record that is referred to. For a constraint it is locked until the batch is done; for a
 * relation, which only asks whether the target is the author's, it is not: locking a record that many refer to
 * would cost more than an answer that may be outdated by a moment.
 */
function* stateOfTarget(
  target: RecordKey,
  { type }: ReferenceRule | OutgoingRelation,
  live: LiveRecords,
): Loading<RecordState | null> {
  return type === 'relation' ? yield* live.reference(target) : (yield* live.record(target)).state
}

/**
 * Refuses a reference to a missing record. A record that the author may not write counts as missing, so that the
 * answer does not reveal whether it exists.
 */
function refuseMissingTarget(rules: CollectionRules, rule: ReferenceRule, isThere: boolean): Refusal | null {
  if (isThere) return null
  const collection = String(rule.constraint.where?.collection)
  return violation(rules, rule, `there is no such record of ${collection} that the author may refer to`)
}

/**
 * Refuses a reference to a record that the author may not write, deleted or not: it would block the deletion of
 * that record, or be affected by it. A record that does not exist yet may come, because devices send in any order,
 * and its owner is unknown: so ids that can be guessed are not protected.
 */
function refuseForeignTarget(
  { name, field, target }: OutgoingRelation,
  state: RecordState | null,
  isOwn: boolean,
): Refusal | null {
  if (state === null || state.isPurged === true || isOwn) return null
  return refuse(
    'REFERENTIAL_INTEGRITY',
    `Relation ${name}: ${field} refers to a record of ${target} that is not the author's to refer to.`,
  )
}

function violation(rules: CollectionRules, rule: GroupRule | ReferenceRule, reason: string): Refusal {
  const { type, fields, where = {} } = rule.constraint
  const names = fields.length > 0 ? fields : Object.keys(where)
  const on = names.length > 0 ? ` on ${names.join(', ')}` : ''
  return refuse(
    'CONSTRAINT_VIOLATION',
    `The ${type} constraint${on} of ${rules.collection} is violated: ${reason}.`,
  )
}
