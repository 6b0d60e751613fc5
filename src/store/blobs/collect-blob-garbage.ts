import { BLOB_MANIFEST_START, parseBlobManifest } from '../../core/blob-manifest.ts'
import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { BlobIndex } from '../blob-index.ts'
import type { FilesystemBlobStore } from './filesystem-blob-store.ts'

export interface GarbageOptions {
  readonly files: FilesystemBlobStore
  readonly index: Pick<BlobIndex, 'getLiveBlobRefs' | 'readBlobManifests' | 'readKnownBlobs' | 'forgetBlobs'>
  readonly runtime: Pick<Runtime, 'defer'>
  /** Ends the collection between two pages. */
  readonly signal: AbortSignal
  /** ms since the epoch: content pushed later is kept, because its operation may still be on its way. */
  readonly cutoff: number
  /** Delivery sequence: content of a deleted record is kept if something of the record was stored later. */
  readonly deletedThrough: number
  /** ms since the epoch: content last pushed before this is kept. Default: none is. */
  readonly keptBefore?: number
  /** True once the log has been replaced since the collection began: references in the new log were not looked for. */
  readonly isLogReplaced: () => Promise<boolean>
}

export interface GarbageReport {
  readonly kept: number
  readonly deleted: number
  readonly deletedBytes: number
}

const PAGE = 500
/**
 * Files that are deleted before their senders are forgotten: if the process dies in between, the senders of this
 * many remain noted.
 */
const DELETE_PAGE = 20

/**
 * Deletes blobs that no live record refers to, neither directly nor through a manifest that lists them. Content
 * unknown to the store is left alone: it may belong to another database, or be all that is left after the database
 * was lost. Live content is determined twice, before and after the candidates: so a reference that moves between
 * records during one walk is found by the other. Once the log is replaced, nothing more is deleted.
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
 * Deletes those of the hashes that are garbage, and then forgets their senders: content without a known sender may
 * be read by more clients, so the order matters. Content that was sent again meanwhile stays known.
 *
 * @returns the deleted hashes
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

/** Hashes that live records refer to, and the chunks of manifests among them. */
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

/** The candidates that the store knows, and the chunks of manifests among them. */
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

/** The chunks that a manifest lists; none for other content. */
async function readChunkHashes(hash: string, files: FilesystemBlobStore): Promise<readonly string[]> {
  const start = await files.peek(hash, BLOB_MANIFEST_START.byteLength)
  if (start === null || !BLOB_MANIFEST_START.equals(start)) return []
  const bytes = await files.get(hash)
  return (bytes === null ? null : parseBlobManifest(bytes))?.chunkHashes ?? []
}

/** True when a live manifest lists the chunk, even one that is not stored here itself. */
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
