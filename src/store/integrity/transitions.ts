import type { FieldValues, Operation } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import { checkTransition, type InvalidTransition } from '../../core/schema/state-machine.ts'
import type { CollectionRules } from './integrity-rules.ts'
import { isFindable, shownValueIn } from './lookup-index.ts'

/**
 * What an operation did to the fields that have states, and may not: from the value that was stored to
 * the one that the fold gives. An operation that loses against a later one changes nothing, and is
 * no transition.
 *
 * A record may begin in any state; so may one that is inserted anew after its deletion. One whose insert
 * is yet to come shows defaults that nobody has set: until then a field without a value has no state.
 */
export function findInvalidTransitions(
  { definition, stateFields }: CollectionRules,
  operation: Operation,
  before: RecordState | null,
  after: RecordState,
): readonly InvalidTransition[] {
  const isNew = before === null || (before.isDeleted && operation.type === 'insert')
  if (stateFields.length === 0 || isNew || before.isEncrypted || !isFindable(after)) return []
  return stateFields.flatMap((field) => {
    const defaultValue = definition.fields[field]?.defaultValue
    const hasBegun = before.lastInsertAt !== null || Object.hasOwn(before.values, field)
    const from = hasBegun ? shownValueIn(before.values, field, defaultValue) : null
    const to = shownValueIn(after.values, field, defaultValue)
    const finding = from === to ? null : checkTransition(definition, field, from, to)
    return finding ?? []
  })
}

/**
 * The changes of state that an operation has lost to a correction, although they are valid from what that has
 * set. A correction is stamped with the reading that comes right after the operation it takes back, and the
 * clock of its author gives the same one to the next operation of this millisecond: only the names of the two
 * nodes tell which is later.
 *
 * @returns fields and the states that they are to be set to behind the correction
 */
export function findTiedChanges(
  { definition }: CollectionRules,
  { type, data, timestamp }: Operation,
  after: RecordState,
  server: { isServerNode(nodeId: string): boolean },
): FieldValues {
  const { stateMachine } = definition
  if (stateMachine?.onInvalidTransition !== 'last-valid-state') return {} // others are not corrected
  if (type !== 'update' || data === null || !isFindable(after)) return {}
  const { field } = stateMachine
  const written = ownValue(data, field)
  const winner = ownValue(after.fieldVersions, field)?.timestamp
  if (written === undefined || winner === undefined) return {}
  if (!server.isServerNode(winner.nodeId) || server.isServerNode(timestamp.nodeId)) return {}
  if (winner.wallTime !== timestamp.wallTime || winner.logical !== timestamp.logical) return {}
  const corrected = ownValue(after.values, field) ?? null
  if (written === corrected || checkTransition(definition, field, corrected, written) !== null) return {}
  return { [field]: written }
}
