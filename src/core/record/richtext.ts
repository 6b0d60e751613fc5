import { applyUpdate, Doc, encodeStateAsUpdate } from 'yjs'
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
  const document = loadDocument([base, local, remote])
  return document === null ? later : encodeBytes(encodeStateAsUpdate(document))
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
  const document = new Doc()
  try {
    applyUpdate(document, bytes)
    return document.getText(CONTENT).toString()
  } catch {
    return null // not a Yjs document, or one whose content is no text
  }
}

function loadDocument(values: readonly (JsonValue | undefined)[]): Doc | null {
  const document = new Doc()
  try {
    for (const value of values) {
      const bytes = decodeBytes(value)
      if (bytes !== null) applyUpdate(document, bytes)
    }
    return document
  } catch {
    return null // bytes from a client that are no Yjs document
  }
}

function isEmpty(value: JsonValue | undefined): boolean {
  return value === null || value === undefined
}

function isMergeable(value: JsonValue | undefined): boolean {
  return isEmpty(value) || decodeBytes(value) !== null
}
