import type { Doc } from 'yjs'
import { deepEqual } from '../deep-equal.ts'
import { lazyRequire } from '../lazy-require.ts'
import type { JsonValue } from '../operation.ts'
import type { SchemaDefinition } from '../schema/types.ts'
import { decodeBytes, encodeBytes } from './binary-values.ts'
import type { ThreeWay } from './map-merge.ts'

type Yjs = typeof import('yjs')

/** Where nothing was prepared, as in a command that only reads. */
const requireYjs = lazyRequire<Yjs>('yjs')
let imported: Yjs | null = null

/**
 * Loads Yjs where the schema has a rich text: 4 MB of memory that most apps need not spend. What is imported is
 * the instance that the application may have as well; a second one warns on the console.
 */
export async function prepareRichText({ collections }: SchemaDefinition): Promise<void> {
  const fields = Object.values(collections).flatMap((collection) => Object.values(collection.fields))
  if (fields.some(({ kind }) => kind === 'richtext')) imported ??= await import('yjs')
}

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
  const yjs = imported ?? requireYjs() // a failure to load it is not for the catch below
  try {
    return encodeBytes(yjs.encodeStateAsUpdate(loadDocument(yjs, updates)))
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
  const yjs = imported ?? requireYjs()
  try {
    return loadDocument(yjs, [bytes]).getText(CONTENT).toString()
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
function loadDocument({ Doc, applyUpdate, decodeUpdate }: Yjs, updates: readonly Uint8Array[]): Doc {
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
