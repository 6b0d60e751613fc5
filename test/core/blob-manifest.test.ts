import { describe, expect, test } from 'vitest'
import { parseBlobManifest } from '../../src/core/blob-manifest.ts'
import { blobRefsOf, isBlobRef } from '../../src/core/blob-ref.ts'
import { makeBlob, sha256 } from '../support/blobs.ts'
import { loadVectors } from '../support/vectors.ts'

interface BlobVector {
  readonly name: string
  readonly bytesBase64: string
  readonly chunkSize: number
  readonly ref: { readonly hash: string; readonly manifestHash: string }
  readonly manifest: { readonly chunkHashes: readonly string[] }
  readonly manifestText: string
}

const vectors = loadVectors<{ cases: BlobVector[] }>('blobs')

describe.each(vectors.cases)('$name', ({ bytesBase64, chunkSize, ref, manifest, manifestText }) => {
  test('the reference and the manifest of a client are understood', () => {
    const parsed = parseBlobManifest(Buffer.from(manifestText))

    expect(parsed).toMatchObject({ blobHash: ref.hash, chunkSize, chunkHashes: manifest.chunkHashes })
    expect(sha256(Buffer.from(manifestText))).toBe(ref.manifestHash)
    expect(isBlobRef(ref)).toBe(true)
    expect(blobRefsOf({ title: 'x', file: ref, none: null })).toEqual([ref.hash, ref.manifestHash])
  })

  test('its chunks are the ones that the manifest lists', () => {
    const made = makeBlob(Buffer.from(bytesBase64, 'base64'), chunkSize)

    expect(made.ref.hash).toBe(ref.hash)
    expect(made.chunks.map(({ hash }) => hash)).toEqual([...new Set(manifest.chunkHashes)])
  })
})

test.each([
  ['other content', 'hello'],
  ['a truncated manifest', '{"blobHash":"'],
  ['no object', '"{\\"blobHash\\":\\""'],
  ['a hash that is none', '{"blobHash":"x","size":1,"chunkSize":1,"chunkHashes":[]}'],
  [
    'a chunk that is no hash',
    `{"blobHash":"${'a'.repeat(64)}","size":1,"chunkSize":1,"chunkHashes":["../etc"]}`,
  ],
  ['a negative size', `{"blobHash":"${'a'.repeat(64)}","size":-1,"chunkSize":1,"chunkHashes":[]}`],
])('%s is no manifest', (_name, text) => {
  expect(parseBlobManifest(Buffer.from(text))).toBeNull()
})

test('only values at the top that look like a reference count', () => {
  const hash = 'a'.repeat(64)

  expect(
    blobRefsOf({
      nested: { file: { hash, size: 1 } },
      list: [{ hash, size: 1 }],
      upper: { hash: hash.toUpperCase(), size: 1 },
      sizeless: { hash },
    }),
  ).toEqual([])
  expect(blobRefsOf(null)).toEqual([])
})
