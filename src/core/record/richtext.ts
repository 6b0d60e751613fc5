import { applyUpdate, Doc, decodeUpdate, encodeStateAsUpdate } from 'yjs'
import { deepEqual } from '../deep-equal.ts'
import type { JsonValue } from '../operation.ts'
import { decodeBytes, encodeBytes } from './binary-values.ts'
import type { ThreeWay } from './map-merge.ts'

/** The shared type of a Yjs document in which clients keep a field's text. */
const CONTENT = 'content'

/**
 * Merges two rich texts. A string replaces the whole text, so with one the later side wins;
 * documents are merged by Yjs, null adding nothing. What Yjs cannot read loses nothing either: the
 * later side wins.
 */
export function mergeRichTexts({ base, local, remote, isRemoteLater }: ThreeWay): JsonValue | undefined {
  const later = isRemoteLater ? remote : local
  if (isEmpty(local) && isEmpty(remote)) return later
  if (!isMergeable(local) || !isMergeable(remote)) return later
  const updates = [base, local, remote].map(decodeBytes).filter((bytes) => bytes !== null)
  try {
    return encodeBytes(encodeStateAsUpdate(loadDocument(updates)))
  } catch {
    return later
  }
}

/** True when both values show the same text, whether as a string or as documents of any history. */
export function hasSameText(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (deepEqual(a, b)) return true
  const text = readRichText(a)
  return text !== null && text === readRichText(b)
}

/** The text of a rich text value; null when there is none or it cannot be read. */
export function readRichText(value: JsonValue | undefined): string | null {
  if (typeof value === 'string') return value
  const bytes = decodeBytes(value)
  return bytes === null ? null : readRichTextBytes(bytes)
}

/** The text of an encoded document; null when it cannot be read. */
export function readRichTextBytes(bytes: Uint8Array): string | null {
  try {
    return loadDocument([bytes]).getText(CONTENT).toString()
  } catch {
    return null // not a Yjs document, or one whose content is no text
  }
}

/**
 * Reads each update before it is applied: applying trusts the counts that the update states and
 * allocates for them, reading fails at the end of the bytes.
 *
 * @throws Error of whatever kind when the bytes are no Yjs update
 */
function loadDocument(updates: readonly Uint8Array[]): Doc {
  const document = new Doc()
  for (const update of updates) {
    decodeUpdate(update)
    applyUpdate(document, update)
  }
  return document
}

function isEmpty(value: JsonValue | undefined): boolean {
  return value === null || value === undefined
}

function isMergeable(value: JsonValue | undefined): boolean {
  return isEmpty(value) || decodeBytes(value) !== null
}
