import type { FieldValues, Operation } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import { checkTransition, type InvalidTransition } from '../../core/schema/state-machine.ts'
import type { CollectionRules } from './integrity-rules.ts'
import { isFindable, knownValueOf } from './lookup-index.ts'

/**
 * Finds forbidden changes of fields with states: from the stored value to the result of the fold. An operation that
 * loses against a later one changes nothing, and so is not a transition.
 *
 * A record may begin in any state, and so may one that is inserted again after its deletion. Before its insert has
 * arrived, a record shows defaults that nobody has set: until then, a field without a value has no state. The same
 * holds for a field that only an encrypted insert may have set.
 */
export function findInvalidTransitions(
  { definition, stateFields }: CollectionRules,
  operation: Operation,
  before: RecordState | null,
  after: RecordState,
): readonly InvalidTransition[] {
  const isNew = before === null || (before.isDeleted && operation.type === 'insert')
  if (stateFields.length === 0 || isNew || !isFindable(after)) return []
  return stateFields.flatMap((field) => {
    const defaultValue = definition.fields[field]?.defaultValue
    const hasBegun = before.lastInsertAt !== null || Object.hasOwn(before.values, field)
    const from = hasBegun ? knownValueOf(before, field, defaultValue) : null
    const to = knownValueOf(after, field, defaultValue)
    const finding = to === undefined || from === to ? null : checkTransition(definition, field, from, to)
    return finding ?? []
  })
}

/**
 * Finds changes of state that an operation has lost to a correction, although they are valid from the corrected
 * state. A correction has the timestamp right after the operation that it reverts, and the author's clock gives the
 * same one to its next operation within the millisecond: then only the names of the two nodes decide which is
 * later.
 *
 * @returns fields and the states to set them to after the correction
 */
export function findTiedChanges(
  { definition }: CollectionRules,
  { type, data, timestamp }: Operation,
  after: RecordState,
  server: { isServerNode(nodeId: string): boolean },
): FieldValues {
  const { stateMachine } = definition
  if (stateMachine?.onInvalidTransition !== 'last-valid-state') return {} // other policies make no corrections
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
