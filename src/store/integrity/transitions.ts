import type { Operation } from '../../core/operation.ts'
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
