import { createHash } from 'node:crypto'
import type { BlobManifest } from '../../src/core/blob-manifest.ts'
import type { BlobRef } from '../../src/core/blob-ref.ts'
import type { FieldValues } from '../../src/core/operation.ts'

/** Content as a client cuts and names it. */
export interface ClientBlob {
  readonly ref: BlobRef & FieldValues
  readonly manifest: { readonly hash: string; readonly bytes: Buffer }
  /** Each distinct one once, in the order of the upload. */
  readonly chunks: readonly { readonly hash: string; readonly bytes: Buffer }[]
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function makeBlob(content: Uint8Array | string, chunkSize = 4): ClientBlob {
  const bytes = Buffer.from(content)
  const all: { hash: string; bytes: Buffer }[] = []
  for (let start = 0; start < bytes.length; start += chunkSize) {
    const chunk = bytes.subarray(start, start + chunkSize)
    all.push({ hash: sha256(chunk), bytes: chunk })
  }
  const manifest: BlobManifest = {
    blobHash: sha256(bytes),
    size: bytes.length,
    chunkSize,
    chunkHashes: all.map(({ hash }) => hash),
  }
  const manifestBytes = Buffer.from(JSON.stringify(manifest))
  const manifestHash = sha256(manifestBytes)
  return {
    ref: { hash: manifest.blobHash, size: bytes.length, manifestHash },
    manifest: { hash: manifestHash, bytes: manifestBytes },
    chunks: [...new Map(all.map((chunk) => [chunk.hash, chunk])).values()],
  }
}
