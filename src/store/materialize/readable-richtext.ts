import * as Y from 'yjs'
import type { JsonValue } from '../../core/operation.ts'
import { decodeBytes } from '../../core/record/binary-values.ts'

/** The shared type that Kora clients keep the text of a document under. */
const TEXT_NAME = 'content'

/**
 * The text of a rich-text value, for people and queries.
 *
 * @param value as a record shows it (text or bytes) or as an operation carries it
 * @returns null for null, and for bytes that are no document
 */
export function readableRichtext(value: JsonValue | Uint8Array | undefined): string | null {
  if (typeof value === 'string') return value
  const bytes = value instanceof Uint8Array ? value : decodeBytes(value)
  return bytes === null ? null : documentText(bytes)
}

function documentText(bytes: Uint8Array): string | null {
  const document = new Y.Doc()
  try {
    Y.applyUpdate(document, bytes)
    return document.getText(TEXT_NAME).toString()
  } catch {
    return null // the bytes come from a client; nobody has promised that they are a document
  } finally {
    document.destroy()
  }
}
