import { hash as hashOf } from 'node:crypto'
import { ownValue } from './own-property.ts'

/** The value of a `blob` field: the name of content that travels on its own. */
export interface BlobRef {
  /** SHA-256 of the whole content, 64 lower-case hex */
  readonly hash: string
  /** bytes */
  readonly size: number
  readonly mimeType?: string
  readonly filename?: string
  /** Hash of the manifest that lists the chunks. */
  readonly manifestHash?: string
}

/** The largest chunk of a blob that is accepted by default. Clients make chunks of 256 KiB. */
export const DEFAULT_MAX_CHUNK_BYTES = 8 * 1024 * 1024

const HASH = /^[0-9a-f]{64}$/
const NO_HASHES: readonly string[] = []

/** @see docs/protocol.md, "Blob references" */
export function isBlobRef(value: unknown): value is BlobRef {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const ref = value as { readonly [property: string]: unknown } // an object, and not an array
  const size = ownValue(ref, 'size')
  return (
    isBlobHash(ownValue(ref, 'hash')) &&
    Number.isSafeInteger(size) &&
    Number(size) >= 0 &&
    isAbsentOr(ownValue(ref, 'mimeType'), isText) &&
    isAbsentOr(ownValue(ref, 'filename'), isText) &&
    isAbsentOr(ownValue(ref, 'manifestHash'), isBlobHash)
  )
}

/** True for 64 lower-case hex characters, which are also safe as a file name. */
export function isBlobHash(value: unknown): value is string {
  return typeof value === 'string' && HASH.test(value)
}

/** True when this is the SHA-256 of the bytes. */
export function isContentOf(hash: string, bytes: Uint8Array): boolean {
  return hashOf('sha256', bytes, 'hex') === hash
}

function isText(value: unknown): boolean {
  return typeof value === 'string'
}

function isAbsentOr(value: unknown, check: (value: unknown) => boolean): boolean {
  return value === undefined || value === null || check(value)
}

/** The blobs and manifests that a record with these values refers to: top-level values only. */
export function blobRefsOf(values: { readonly [field: string]: unknown } | null): readonly string[] {
  let hashes: Set<string> | null = null
  for (const field in values) {
    const value = values[field]
    if (!isBlobRef(value)) continue
    hashes ??= new Set()
    hashes.add(value.hash)
    if (value.manifestHash) hashes.add(value.manifestHash)
  }
  return hashes === null ? NO_HASHES : [...hashes]
}
