import { BLOB_MANIFEST_START, parseBlobManifest } from '../../core/blob-manifest.ts'
import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { BlobIndex } from '../blob-index.ts'
import type { FilesystemBlobStore } from './filesystem-blob-store.ts'

export interface GarbageOptions {
  readonly files: FilesystemBlobStore
  readonly index: Pick<BlobIndex, 'getLiveBlobRefs' | 'readBlobManifests' | 'readKnownBlobs' | 'forgetBlobs'>
  readonly runtime: Pick<Runtime, 'defer'>
  /** Ends it between two pages. */
  readonly signal: AbortSignal
  /** ms since the epoch: what was pushed later is kept, its operation may still be on its way. */
  readonly cutoff: number
  /** Delivery sequence: what a deleted record refers to of which something was stored later is kept. */
  readonly deletedThrough: number
  /** ms since the epoch: what was pushed last before that is kept. Default: none is. */
  readonly keptBefore?: number
  /** True once another log is there than when the collection began: what that one refers to was not looked for. */
  readonly isLogReplaced: () => Promise<boolean>
}

export interface GarbageReport {
  readonly kept: number
  readonly deleted: number
  readonly deletedBytes: number
}

const PAGE = 500
/** Files that are deleted before their senders are forgotten: where the process dies in between, so many keep theirs. */
const DELETE_PAGE = 20

/**
 * Deletes the blobs that no live record refers to: neither they themselves nor a manifest that lists
 * them. What the store knows nothing of is left alone: it may be the content of another database, or all that there
 * is when the database was lost. What is live is found out twice, before the candidates are known and after: a reference that
 * moves from one record to another during the first look cannot be missed by both. Nothing more is deleted once the log
 * is replaced.
 *
 * @throws the reason of the signal
 */
export async function collectBlobGarbage(options: GarbageOptions): Promise<GarbageReport> {
  const { files, cutoff, signal, keptBefore = Number.NEGATIVE_INFINITY } = options
  let found = 0
  const candidates = new Map<string, number>()
  const live = await markLive(options)
  for await (const { hash, byteLength, touchedAt } of files.list()) {
    signal.throwIfAborted()
    found++
    if (!live.has(hash) && touchedAt <= cutoff && touchedAt >= keptBefore) candidates.set(hash, byteLength)
  }
  if (candidates.size === 0) return { kept: found, deleted: 0, deletedBytes: 0 }

  const hashes = [...candidates.keys()]
  const known = await markKnown(hashes, options)
  const stillLive = await markLive(options)
  const isGarbage = async (hash: string) =>
    known.has(hash) && !stillLive.has(hash) && !(await isListed(hash, stillLive, options))
  let deleted = 0
  let deletedBytes = 0
  for (let start = 0; start < hashes.length && !(await options.isLogReplaced()); start += DELETE_PAGE) {
    signal.throwIfAborted()
    for (const hash of await deletePage(hashes.slice(start, start + DELETE_PAGE), isGarbage, options)) {
      deleted++
      deletedBytes += candidates.get(hash) ?? 0
    }
  }
  return { kept: found - deleted, deleted, deletedBytes }
}

/**
 * Deletes what of these hashes is garbage. Who has sent it is forgotten afterwards: content of which no sender is
 * known may be read by more people. It may have been sent again by then, which stays known.
 *
 * @returns what was deleted
 */
async function deletePage(
  hashes: readonly string[],
  isGarbage: (hash: string) => Promise<boolean>,
  { files, index, cutoff }: GarbageOptions,
): Promise<readonly string[]> {
  const deleted: string[] = []
  try {
    for (const hash of hashes) {
      if ((await isGarbage(hash)) && (await files.deleteUntouched(hash, cutoff))) deleted.push(hash)
    }
  } finally {
    if (deleted.length > 0) await index.forgetBlobs(deleted, cutoff)
  }
  return deleted
}

/** What live records refer to, and the chunks of the manifests among it. */
async function markLive({
  files,
  index,
  deletedThrough,
  signal,
}: GarbageOptions): Promise<ReadonlySet<string>> {
  const refs = await index.getLiveBlobRefs(deletedThrough)
  const live = new Set(refs)
  for (const hash of refs) {
    signal.throwIfAborted()
    for (const chunk of await readChunkHashes(hash, files)) live.add(chunk)
  }
  return live
}

/** The candidates that the store knows, and the chunks of the manifests among them. */
async function markKnown(
  candidates: readonly string[],
  { files, index, signal }: GarbageOptions,
): Promise<ReadonlySet<string>> {
  const known = new Set<string>()
  for (let start = 0; start < candidates.length; start += PAGE) {
    signal.throwIfAborted()
    for (const hash of await index.readKnownBlobs(candidates.slice(start, start + PAGE))) {
      known.add(hash)
      for (const chunk of await readChunkHashes(hash, files)) known.add(chunk)
    }
  }
  return known
}

/** What a manifest lists; nothing for other content. */
async function readChunkHashes(hash: string, files: FilesystemBlobStore): Promise<readonly string[]> {
  const start = await files.peek(hash, BLOB_MANIFEST_START.byteLength)
  if (start === null || !BLOB_MANIFEST_START.equals(start)) return []
  const bytes = await files.get(hash)
  return (bytes === null ? null : parseBlobManifest(bytes))?.chunkHashes ?? []
}

/** True when a live manifest lists the chunk: known also when the manifest itself is not stored here. */
async function isListed(
  hash: string,
  live: ReadonlySet<string>,
  { index, runtime }: GarbageOptions,
): Promise<boolean> {
  for (let after = ''; ; ) {
    const manifests = await index.readBlobManifests(hash, PAGE, after)
    if (manifests.some((manifest) => live.has(manifest.hash))) return true
    const last = manifests.at(-1)
    if (last === undefined || manifests.length < PAGE) return false
    after = last.hash
    await yieldToEventLoop(runtime) // operations go on meanwhile
  }
}
