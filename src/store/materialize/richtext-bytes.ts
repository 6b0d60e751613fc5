import { isUtf8 } from 'node:buffer'

/**
 * Rich text in a PostgreSQL column of type bytea, which does not distinguish text from bytes:
 *
 *   text    its UTF-8, so that `convert_from(column, 'UTF8')` reads it in SQL
 *   bytes   as they are, preceded by a marker if they could be taken for text or for marked bytes
 *
 * Text never contains a zero byte (see `storableText`), and nearly every Yjs document does.
 */
const MARKER = Buffer.from('\0bytes\0')

/** The stored form of rich text that is a text. */
export function textToBytea(text: string): Uint8Array {
  return Buffer.from(text)
}

/** The stored form of rich text that is bytes, marked where it could be taken for something else. */
export function bytesToBytea(bytes: Uint8Array): Uint8Array {
  return looksLikeText(bytes) || hasMarker(bytes) ? Buffer.concat([MARKER, bytes]) : bytes
}

/** Returns the argument of `textToBytea` or `bytesToBytea`. */
export function byteaToRichtext(stored: Uint8Array): string | Uint8Array {
  if (hasMarker(stored)) return new Uint8Array(stored.subarray(MARKER.length))
  return looksLikeText(stored) ? Buffer.from(stored).toString() : new Uint8Array(stored)
}

function looksLikeText(bytes: Uint8Array): boolean {
  return !bytes.includes(0) && isUtf8(bytes)
}

function hasMarker(bytes: Uint8Array): boolean {
  return bytes.length >= MARKER.length && MARKER.equals(bytes.subarray(0, MARKER.length))
}
