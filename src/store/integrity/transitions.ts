import type { FieldValues, JsonValue, Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { Refusal } from '../../core/refusal.ts'
import { checkTransition, refuseTransition } from '../../core/schema/state-machine.ts'
import type { CollectionRules } from './integrity-rules.ts'
import { isFindable, shownValueIn } from './lookup-index.ts'

/**
 * Judges what an operation did to the fields that have states: from the value that was stored to
 * the one that the fold gives. An operation that loses against a later one changes nothing, and is
 * no transition.
 *
 * A record may begin in any state; so may one that is inserted anew after its deletion. One whose insert
 * is yet to come shows defaults that nobody has set: until then a field without a value has no state.
 *
 * @returns the refusal, or the fields that are to be set back to their last valid states
 */
export function judgeTransitions(
  { collection, definition, stateFields }: CollectionRules,
  operation: Operation,
  before: RecordState | null,
  after: RecordState,
): { readonly refusal: Refusal } | { readonly setBack: FieldValues } {
  const setBack: { [field: string]: JsonValue } = {}
  const isNew = before === null || (before.isDeleted && operation.type === 'insert')
  if (stateFields.length === 0 || isNew || before.isEncrypted || !isFindable(after)) return { setBack }
  for (const field of stateFields) {
    const defaultValue = definition.fields[field]?.defaultValue
    const hasBegun = before.lastInsertAt !== null || Object.hasOwn(before.values, field)
    const from = hasBegun ? shownValueIn(before.values, field, defaultValue) : null
    const to = shownValueIn(after.values, field, defaultValue)
    if (from === to) continue
    const finding = checkTransition(definition, field, from, to)
    if (finding?.policy === 'reject') return { refusal: refuseTransition(collection, finding) }
    if (finding !== null) setBack[field] = from
  }
  return { setBack }
}
