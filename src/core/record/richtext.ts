import type { Doc } from 'yjs'
import { deepEqual } from '../deep-equal.ts'
import { lazyRequire } from '../lazy-require.ts'
import type { JsonValue } from '../operation.ts'
import type { SchemaDefinition } from '../schema/types.ts'
import { decodeBytes, encodeBytes } from './binary-values.ts'
import { loadDocument } from './bounded-integration.ts'
import type { ThreeWay } from './map-merge.ts'

type Yjs = typeof import('yjs')

/** Used where nothing was prepared, as in a command that only reads. */
const requireYjs = lazyRequire<Yjs>('yjs')
let imported: Yjs | null = null

/**
 * Loads Yjs if the schema has a rich text field, because most apps can save its 4 MB of memory. It is imported, so
 * that the application and the server share one instance: a second one prints a warning on the console.
 */
export async function prepareRichText({ collections }: SchemaDefinition): Promise<void> {
  const fields = Object.values(collections).flatMap((collection) => Object.values(collection.fields))
  if (fields.some(({ kind }) => kind === 'richtext')) imported ??= await import('yjs')
}

/** The shared type of a Yjs document in which clients keep a field's text. */
const CONTENT = 'content'

/** The result of reading a document. */
interface ReadDocument {
  readonly isLoadable: boolean
  /** null: it has no text, or its content is not a text */
  readonly text: string | null
}

const UNREADABLE: ReadDocument = { isLoadable: false, text: null }

/**
 * Cached, because loading a document is expensive, and each change of a batch is compared with the result of the
 * one before.
 */
const readByValue = new WeakMap<object, ReadDocument>()

/**
 * Merges two rich texts. A string replaces the whole text, so the later side wins if either is a string. Documents
 * are merged by Yjs, to which null adds nothing. If Yjs cannot read a document, or not in a reasonable time, the
 * later side wins.
 */
export function mergeRichTexts({ base, local, remote, isRemoteLater }: ThreeWay): JsonValue | undefined {
  const later = isRemoteLater ? remote : local
  if (isEmpty(local) && isEmpty(remote)) return later
  if (!isMergeable(local) || !isMergeable(remote)) return later
  if (isKnownUnreadable(local)) return later // known from detecting the conflict
  const updates = [base, local, remote].map(decodeBytes).filter((bytes) => bytes !== null)
  const yjs = imported ?? requireYjs() // a failure to load it must not reach the catch below
  try {
    const document = loadDocument(yjs, updates)
    const merged = encodeBytes(yjs.encodeStateAsUpdate(document))
    readByValue.set(merged, { isLoadable: true, text: textOf(document) })
    return merged
  } catch {
    return later
  }
}

/** True when both values show the same text, whether as a string or as documents with any history. */
export function hasSameText(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (deepEqual(a, b)) return true
  const text = readRichText(a)
  return text !== null && text === readRichText(b)
}

/** The text of a rich text value; null when there is none or it cannot be read. */
export function readRichText(value: JsonValue | undefined): string | null {
  if (typeof value === 'string') return value
  if (typeof value !== 'object' || value === null) return null
  const known = readByValue.get(value)
  if (known !== undefined) return known.text
  const bytes = decodeBytes(value)
  if (bytes === null) return null
  const read = readDocument(bytes)
  readByValue.set(value, read)
  return read.text
}

/** The text of an encoded document; null when it cannot be read. */
export function readRichTextBytes(bytes: Uint8Array): string | null {
  return readDocument(bytes).text
}

function readDocument(bytes: Uint8Array): ReadDocument {
  const yjs = imported ?? requireYjs()
  try {
    return { isLoadable: true, text: textOf(loadDocument(yjs, [bytes])) }
  } catch {
    return UNREADABLE // not a Yjs document, or one that would take too long
  }
}

function textOf(document: Doc): string | null {
  try {
    return document.getText(CONTENT).toString()
  } catch {
    return null // its content is not a text
  }
}

function isKnownUnreadable(value: JsonValue | undefined): boolean {
  return typeof value === 'object' && value !== null && readByValue.get(value)?.isLoadable === false
}

function isEmpty(value: JsonValue | undefined): boolean {
  return value === null || value === undefined
}

function isMergeable(value: JsonValue | undefined): boolean {
  return isEmpty(value) || decodeBytes(value) !== null
}
