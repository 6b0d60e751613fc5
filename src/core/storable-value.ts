import { canonicalJson } from './canonical-json.ts'
import type { FieldValues, JsonValue } from './operation.ts'

/*
 * Values that every store, every client and every backup keeps exactly as written. Anything else is refused from
 * clients; from the app itself, whose mistakes must not stop anything, it is replaced.
 */

/** Most levels of nesting of a value inside an operation, whose `data` is the first. */
export const MAX_JSON_DEPTH = 32

const FIELDS_DEPTH = 1
const FIELD_DEPTH = 2

const LONE_SURROGATE = /\p{Surrogate}/u

/** True for text that every store and every client reads back exactly as written. */
export function isStorableText(text: string): boolean {
  return !text.includes('\u0000') && !LONE_SURROGATE.test(text)
}

/**
 * Makes text that every database can hold. PostgreSQL refuses U+0000 in text and jsonb, and UTF-8 has no form for
 * half of a surrogate pair. Both are replaced by U+FFFD on all stores, so that an operation reads the same
 * everywhere and never makes a transaction fail.
 */
export function storableText(text: string): string {
  if (isStorableText(text)) return text
  return text.replaceAll('\0', '\ufffd').replaceAll(LONE_SURROGATES, '\ufffd')
}

/**
 * A value as JSON text, with the same replacements in its strings and keys. Keys are sorted, so that equal values
 * have equal texts: SQLite compares the text, PostgreSQL the value.
 */
export function storableJson(value: unknown): string {
  const text = canonicalJson(value)
  // Both are written as escapes, so most texts need no second look.
  return text.includes('\\u') ? text.replaceAll(ESCAPE, replaceUnstorable) : text
}

/** True for a value that a field of an operation may hold. @see storableValue */
export function isStorableValue(value: JsonValue): boolean {
  return isStorable(value, FIELD_DEPTH)
}

/**
 * Makes a value that a field of an operation may hold: its texts are replaced as above, values that are nested too
 * deep become null, and keys `__proto__` are dropped.
 */
export function storableValue(value: JsonValue): JsonValue {
  return isStorableValue(value) ? value : replaced(value, FIELD_DEPTH)
}

/** The same for all fields of an operation or a record. */
export function storableFields(fields: FieldValues): FieldValues {
  return isStorable(fields, FIELDS_DEPTH) ? fields : replacedInside(fields, FIELDS_DEPTH)
}

// With the u flag, a complete pair is one code point and does not match.
const LONE_SURROGATES = /\p{Surrogate}/gu

/** One whole JSON escape; `\\` is matched too, so that `\\u0000` is not mistaken for one. */
const ESCAPE = /\\(?:u[0-9a-f]{4}|.)/g

function replaceUnstorable(sequence: string): string {
  return sequence === '\\u0000' || /^\\ud[89a-f]/.test(sequence) ? '\ufffd' : sequence
}

function isStorable(value: JsonValue, depth: number): boolean {
  if (typeof value === 'string') return isStorableText(value)
  if (typeof value !== 'object' || value === null) return true
  if (depth > MAX_JSON_DEPTH) return false
  return Object.entries(value).every(
    ([key, child]) => key !== '__proto__' && isStorableText(key) && isStorable(child, depth + 1),
  )
}

function replaced(value: JsonValue, depth: number): JsonValue {
  if (typeof value === 'string') return storableText(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_JSON_DEPTH) return null
  return isList(value) ? value.map((element) => replaced(element, depth + 1)) : replacedInside(value, depth)
}

function replacedInside(fields: FieldValues, depth: number): FieldValues {
  const kept = Object.entries(fields).filter(([key]) => key !== '__proto__')
  return Object.fromEntries(kept.map(([key, value]) => [storableText(key), replaced(value, depth + 1)]))
}

/** Needed because `Array.isArray` does not narrow readonly lists. */
function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value)
}
