import type { JsonValue } from '../../core/operation.ts'
import { readRichText, readRichTextBytes } from '../../core/record/richtext.ts'

/**
 * The text of a rich-text value, for people and queries.
 *
 * @param value as a record shows it (text or bytes) or as an operation carries it
 * @returns null for null, and for bytes that are not a document
 */
export function readableRichtext(value: JsonValue | Uint8Array | undefined): string | null {
  return value instanceof Uint8Array ? readRichTextBytes(value) : readRichText(value)
}
