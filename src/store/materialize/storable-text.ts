import { canonicalJson } from '../../core/canonical-json.ts'
import { isStorableText } from '../../protocol/json-value.ts'

/**
 * Text as every database can hold it. PostgreSQL refuses U+0000 in text and jsonb; UTF-8 has no
 * form for half of a surrogate pair. Both are replaced by U+FFFD on all stores, so that one
 * operation reads the same everywhere and never stops a transaction. The log keeps the original.
 */
export function storableText(text: string): string {
  if (isStorableText(text)) return text
  return text.replaceAll('\0', '\ufffd').replaceAll(LONE_SURROGATES, '\ufffd')
}

/**
 * A value as JSON text, with the same replacements inside of its strings and keys. Keys are sorted,
 * so that equal values are equal as text: SQLite compares the text, PostgreSQL the value.
 */
export function storableJson(value: unknown): string {
  const text = canonicalJson(value)
  // Both are written as escapes, so that most texts need no second look.
  return text.includes('\\u') ? text.replaceAll(ESCAPE, replaceUnstorable) : text
}

// With the u flag, a pair is one code point and does not match.
const LONE_SURROGATES = /\p{Surrogate}/gu

/** One whole escape of JSON; `\\` is matched too, so that `\\u0000` is not taken for one. */
const ESCAPE = /\\(?:u[0-9a-f]{4}|.)/g

function replaceUnstorable(sequence: string): string {
  return sequence === '\\u0000' || /^\\ud[89a-f]/.test(sequence) ? '\ufffd' : sequence
}
