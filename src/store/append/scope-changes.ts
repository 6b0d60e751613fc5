import { jsonOfName, jsonOfText } from '../../core/json-text.ts'
import { memoizeLast } from '../../core/memoize-last.ts'
import type { FieldValues, Operation } from '../../core/operation.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import type { RecordState } from '../../core/record/state.ts'
import { type ScopeChange, type ScopeChanges, type ScopeKey, scopeKeyOf } from '../../core/view.ts'

const NO_CHANGES: ScopeChanges = Object.freeze([])
/** A batch is mostly of one user. Its keys are then one string, which is hashed and compared once. */
const lastScopeKeyOf = memoizeLast(scopeKeyOf)
const storedKey = memoizeLast((key: ScopeKey) => (key === undefined ? 'null' : jsonOfText(key)))

/**
 * What an operation did to the fields that visibility is decided by.
 *
 * @param before the record before the operation; null when it did not exist
 * @param operation null: the record is only folded otherwise
 */
export function scopeChangesOf(
  before: RecordState | null,
  after: RecordState,
  trackedFields: readonly string[],
  operation: Operation | null,
): ScopeChanges {
  if (trackedFields.length === 0) return NO_CHANGES
  const inserted = operation !== null && isLateInsert(before, operation) ? operation.data : null
  const states = { before, after, inserted }
  let changes: ScopeChange[] = []
  for (const field of trackedFields) {
    const change = changeOfField(states, field)
    if (change === null) continue
    // Pushed onto an empty list, the one that most have would take room for seventeen for as long as the feed keeps it.
    if (changes.length === 0) changes = [change]
    else changes.push(change)
  }
  return changes
}

/** True for the insert of a record of which something else is stored already. */
export function isLateInsert(before: RecordState | null, operation: Operation): boolean {
  return before?.lastInsertAt === null && operation.type === 'insert'
}

interface FieldStates {
  readonly before: RecordState | null
  readonly after: RecordState
  readonly inserted: FieldValues | null
}

/**
 * Tells how the operation changed the field. A record whose insert arrives after an update may have moved in between:
 * clients that see it as it is now would drop the insert, which names the former value. For them, the insert counts as
 * the change from there to here.
 */
function changeOfField({ before, after, inserted }: FieldStates, field: string): ScopeChange | null {
  const afterKey = keyIn(after.values, field)
  const known = before === null ? afterKey : keyIn(before.values, field)
  const beforeKey = known === afterKey && inserted !== null ? keyIn(inserted, field) : known
  if (beforeKey !== afterKey) return { field, after: afterKey, before: { key: beforeKey } }
  return afterKey === undefined ? null : { field, after: afterKey }
}

/**
 * Tells which views see the correction of an operation that names another value of a tracked field than its record
 * has, as a losing operation does: those that filter by the field. Their clients go by the values that operations
 * name, and drop the operation. Views that the operation brings the record into are sent a snapshot, and must not
 * learn what was before it: to them, the fields by which the record has moved hold nothing here.
 *
 * @returns null when it names what the record has
 */
export function changesOfLoser(operation: Operation, changes: ScopeChanges): ScopeChanges | null {
  if (!changes.some((change) => isMisnamed(operation, change))) return null
  return changes
    .filter(({ before }) => before === undefined)
    .map((change) => (isMisnamed(operation, change) ? { ...change, before: { key: undefined } } : change))
}

/** True for an operation that names another value of the field than it has left there. */
export function isMisnamed(
  { data, previousData }: Operation,
  { field, after, before }: ScopeChange,
): boolean {
  const naming = data !== null && Object.hasOwn(data, field) ? data : previousData
  if (naming === null || after === undefined || before !== undefined || !Object.hasOwn(naming, field))
    return false
  return keyIn(naming, field) !== after && !isEncryptedPayload(naming)
}

/** True when the change brings the record into some view: a tracked field took another value. */
export function gainsViews(changes: ScopeChanges): boolean {
  return changes.some(({ before, after }) => before !== undefined && after !== undefined)
}

function keyIn(values: FieldValues, field: string): ScopeKey {
  return Object.hasOwn(values, field) ? lastScopeKeyOf(values[field]) : undefined
}

/**
 * Stored form: field → [after] or [after, before], where JSON null is a missing field (the key of
 * a field that holds null is the text "null"). null when there is nothing to say.
 */
export function serializeScopeChanges(changes: ScopeChanges): string | null {
  let text = ''
  for (const { field, after, before } of changes) {
    // Written piece by piece, for each row of the log: an object to stringify took twice as long.
    text += `${text === '' ? '{' : ','}${jsonOfName(field)}:[${storedKey(after)}`
    text += before === undefined ? ']' : `,${storedKey(before.key)}]`
  }
  return text === '' ? null : `${text}}`
}

/** Reads what `serializeScopeChanges` wrote; no changes for null. */
export function parseScopeChanges(text: string | null): ScopeChanges {
  if (text === null) return NO_CHANGES
  const stored = JSON.parse(text) as Record<string, [string | null, (string | null)?]> // written above
  return Object.entries(stored).map(([field, [after, before]]) => ({
    field,
    after: after ?? undefined,
    ...(before !== undefined && { before: { key: before ?? undefined } }),
  }))
}
