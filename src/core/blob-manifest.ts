import { isUtf8 } from 'node:buffer'
import { isBlobHash } from './blob-ref.ts'

/** How a blob is assembled from chunks. The manifest is itself a blob, named by its own hash. */
export interface BlobManifest {
  /** SHA-256 of the whole content */
  readonly blobHash: string
  /** bytes of the whole content */
  readonly size: number
  /** bytes of each chunk but the last */
  readonly chunkSize: number
  /** In order; a hash may occur more than once. */
  readonly chunkHashes: readonly string[]
}

/** 16 GiB in chunks of the default size. */
const MAX_CHUNKS = 65_536
/** Hash, quotes and comma for each chunk, plus the rest. */
const MAX_MANIFEST_BYTES = MAX_CHUNKS * 67 + 16_384
/** Clients write the properties in this order, so other content is recognized by its first bytes. */
export const BLOB_MANIFEST_START = Buffer.from('{"blobHash":"')

/**
 * Parses a manifest.
 *
 * @returns null for other bytes, because chunks share the namespace
 * @see docs/protocol.md, "Blob references"
 */
export function parseBlobManifest(bytes: Uint8Array): BlobManifest | null {
  if (bytes.byteLength > MAX_MANIFEST_BYTES || !startsWith(bytes, BLOB_MANIFEST_START) || !isUtf8(bytes))
    return null
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString())
  } catch {
    return null // content that only begins like a manifest
  }
  const { blobHash, size, chunkSize, chunkHashes } = value as Partial<Record<keyof BlobManifest, unknown>>
  if (!isBlobHash(blobHash) || !isByteCount(size) || !isByteCount(chunkSize)) return null
  if (!Array.isArray(chunkHashes) || chunkHashes.length > MAX_CHUNKS || !chunkHashes.every(isBlobHash))
    return null
  return { blobHash, size, chunkSize, chunkHashes }
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.byteLength >= prefix.byteLength && prefix.every((byte, index) => bytes[index] === byte)
}

function isByteCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
