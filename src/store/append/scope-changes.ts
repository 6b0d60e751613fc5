import { jsonOfName, jsonOfText } from '../../core/json-text.ts'
import { memoizeLast } from '../../core/memoize-last.ts'
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
 */
export function scopeChangesOf(
  before: RecordState | null,
  after: RecordState,
  trackedFields: readonly string[],
): ScopeChanges {
  if (trackedFields.length === 0) return NO_CHANGES
  let changes: ScopeChange[] = []
  for (const field of trackedFields) {
    const change = changeOfField(before, after, field)
    if (change === null) continue
    // Pushed onto an empty list, the one that most have would take room for seventeen for as long as the feed keeps it.
    if (changes.length === 0) changes = [change]
    else changes.push(change)
  }
  return changes
}

function changeOfField(before: RecordState | null, after: RecordState, field: string): ScopeChange | null {
  const afterKey = keyIn(after, field)
  const beforeKey = before === null ? afterKey : keyIn(before, field)
  if (beforeKey !== afterKey) return { field, after: afterKey, before: { key: beforeKey } }
  return afterKey === undefined ? null : { field, after: afterKey }
}

/** True when the change brings the record into some view: a tracked field took another value. */
export function gainsViews(changes: ScopeChanges): boolean {
  return changes.some(({ before, after }) => before !== undefined && after !== undefined)
}

function keyIn(state: RecordState, field: string): ScopeKey {
  return Object.hasOwn(state.values, field) ? lastScopeKeyOf(state.values[field]) : undefined
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

export function parseScopeChanges(text: string | null): ScopeChanges {
  if (text === null) return NO_CHANGES
  const stored = JSON.parse(text) as Record<string, [string | null, (string | null)?]> // written above
  return Object.entries(stored).map(([field, [after, before]]) => ({
    field,
    after: after ?? undefined,
    ...(before !== undefined && { before: { key: before ?? undefined } }),
  }))
}
