import type { JsonValue } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { type Refusal, refuse } from '../refusal.ts'
import type { CollectionDefinition, StateMachine } from './types.ts'

/** State → the states that may follow. A state that is not listed is final. */
export type Transitions = StateMachine['transitions']

/** A change of state that the schema does not allow. */
export interface InvalidTransition {
  readonly field: string
  readonly from: string
  readonly to: JsonValue
  /** The states that may follow `from`. */
  readonly allowed: readonly string[]
  /** Policy of the state machine that forbids it; for transitions of a field it is to reject. */
  readonly policy: StateMachine['onInvalidTransition']
}

/**
 * Checks a change of one field against the field's transitions, then against the collection's state machine: a
 * change that the field forbids is rejected, whatever the machine's policy. Staying in a state has to be allowed
 * like any other transition.
 *
 * @param from the state before; null or undefined: there was none, so that any state may be entered
 * @returns the finding, or null when the change is allowed or the field has no states
 * @see docs/constraints.md, "States"
 */
export function checkTransition(
  collection: CollectionDefinition,
  field: string,
  from: JsonValue | undefined,
  to: JsonValue,
): InvalidTransition | null {
  if (typeof from !== 'string') return null
  const machine = collection.stateMachine?.field === field ? collection.stateMachine : undefined
  const ownTransitions = ownValue(collection.fields, field)?.transitions
  const rules = [
    { transitions: ownTransitions, policy: 'reject' },
    { transitions: machine?.transitions, policy: machine?.onInvalidTransition ?? 'reject' },
  ] as const
  for (const { transitions, policy } of rules) {
    if (!transitions || isAllowedTransition(transitions, from, to)) continue
    return { field, from, to, allowed: ownValue(transitions, from) ?? [], policy }
  }
  return null
}

function isAllowedTransition(transitions: Transitions, from: string, to: JsonValue): boolean {
  return typeof to === 'string' && (ownValue(transitions, from)?.includes(to) ?? false)
}

/** The fields of a collection that have states, by either form. */
export function stateFields(collection: CollectionDefinition): readonly string[] {
  const fields = Object.keys(collection.fields).filter((name) => collection.fields[name]?.transitions)
  const { stateMachine } = collection
  return stateMachine === undefined ? fields : [...new Set([stateMachine.field, ...fields])]
}

/** The refusal for a finding whose policy is to reject. */
export function refuseTransition(collectionName: string, finding: InvalidTransition): Refusal {
  const next =
    finding.allowed.length === 0 ? 'nothing may follow it' : `allowed: ${finding.allowed.join(', ')}`
  return refuse(
    'CONSTRAINT_VIOLATION',
    `${collectionName}.${finding.field} cannot go from "${finding.from}" to ${JSON.stringify(finding.to)} (${next}).`,
  )
}
