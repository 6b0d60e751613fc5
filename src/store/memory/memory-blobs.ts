import type { LogRow } from '../append/number-entries.ts'
import type { BlobHolding, BlobReferrer, BlobUpload, ListingManifest } from '../blob-index.ts'
import { LiveRefs } from '../blobs/live-refs.ts'
import { firstIndexAbove } from './first-index.ts'
import type { MemoryLog } from './memory-log.ts'

interface Upload {
  readonly byUser: Map<string, { readonly byteLength: number; readonly sentAt: number }>
  readonly sentAtByHolder: Map<string, number>
}

interface SortedReferrer {
  readonly key: Buffer
  readonly referrer: BlobReferrer
}

/** The blob index in maps. @see BlobIndex */
export class MemoryBlobs {
  readonly #referrers = new Map<string, Map<string, BlobReferrer>>()
  /** In the order of pages; after another reference to a hash, its list is sorted again by the next read. */
  readonly #sortedReferrers = new Map<string, readonly SortedReferrer[]>()
  readonly #manifestsByChunk: Map<string, Set<string>>
  /** In the order of pages; after another manifest for a chunk, its list is sorted again by the next read. */
  readonly #sortedManifests: Map<string, readonly string[]>
  readonly #uploads: Map<string, Upload>
  readonly #bytesByUser: Map<string, number>

  /** @param shared index whose uploads are known here too; references follow from a log, and are not shared */
  constructor(shared: MemoryBlobs | null = null) {
    this.#manifestsByChunk = shared === null ? new Map() : shared.#manifestsByChunk
    this.#sortedManifests = shared === null ? new Map() : shared.#sortedManifests
    this.#uploads = shared === null ? new Map() : shared.#uploads
    this.#bytesByUser = shared === null ? new Map() : shared.#bytesByUser
  }

  /** Notes the blobs to which a new row of the log makes its record refer. */
  noteRefs({ entry, blobRefs, author }: LogRow): void {
    const { collection, recordId } = entry
    for (const hash of blobRefs) {
      this.#sortedReferrers.delete(hash)
      let referrers = this.#referrers.get(hash)
      if (referrers === undefined) {
        referrers = new Map()
        this.#referrers.set(hash, referrers)
      }
      referrers.set(sortKey({ collection, recordId }), { collection, recordId, author })
    }
  }

  readReferrers(hash: string, limit: number, after?: BlobReferrer): BlobReferrer[] {
    const sorted = this.#sortedReferrersOf(hash)
    const lastKey = after && Buffer.from(sortKey(after))
    const start = lastKey ? firstIndexAbove(sorted, ({ key }) => Buffer.compare(key, lastKey) > 0) : 0
    return sorted.slice(start, start + limit).map(({ referrer }) => referrer)
  }

  #sortedReferrersOf(hash: string): readonly SortedReferrer[] {
    const known = this.#sortedReferrers.get(hash)
    if (known !== undefined) return known
    const sorted = [...(this.#referrers.get(hash) ?? [])]
      .map(([key, referrer]) => ({ key: Buffer.from(key), referrer }))
      .sort((a, b) => Buffer.compare(a.key, b.key))
    if (sorted.length > 0) this.#sortedReferrers.set(hash, sorted)
    return sorted
  }

  /** Hashes of the blobs that live records refer to now. */
  liveRefs(log: MemoryLog, deletedThrough: number): ReadonlySet<string> {
    const live = new LiveRefs(deletedThrough)
    for (const [hash, referrers] of this.#referrers) {
      for (const referrer of referrers.values()) {
        if (!live.asksFor(hash, referrer)) continue
        const record = log.record(referrer.collection, referrer.recordId)
        if (record !== undefined) live.add(record.state, record.sequences.at(-1) ?? 0)
      }
    }
    return live.hashes
  }

  linkChunks(manifestHash: string, chunkHashes: readonly string[]): void {
    for (const chunk of chunkHashes) {
      this.#sortedManifests.delete(chunk)
      const manifests = this.#manifestsByChunk.get(chunk) ?? new Set()
      this.#manifestsByChunk.set(chunk, manifests.add(manifestHash))
    }
  }

  readManifests(chunkHash: string, limit: number, after: string): ListingManifest[] {
    const sorted = this.#sortedManifestsOf(chunkHash)
    const start = firstIndexAbove(sorted, (hash) => hash > after)
    return sorted.slice(start, start + limit).map((hash) => ({ hash, isReferred: this.#referrers.has(hash) }))
  }

  #sortedManifestsOf(chunkHash: string): readonly string[] {
    const known = this.#sortedManifests.get(chunkHash)
    if (known !== undefined) return known
    const sorted = [...(this.#manifestsByChunk.get(chunkHash) ?? [])].sort()
    if (sorted.length > 0) this.#sortedManifests.set(chunkHash, sorted)
    return sorted
  }

  noteHolders(hash: string, holders: readonly string[], sentAt: number): void {
    if (holders.length === 0) return
    const { sentAtByHolder } = this.#uploadOf(hash)
    for (const holder of holders) sentAtByHolder.set(holder, sentAt)
  }

  recordUpload({ hash, byteLength, userId, holders }: BlobUpload, sentAt: number): void {
    this.noteHolders(hash, holders, sentAt)
    const upload = this.#uploadOf(hash)
    const known = upload.byUser.get(userId)
    upload.byUser.set(userId, { byteLength: known?.byteLength ?? byteLength, sentAt })
    if (known === undefined) this.#bytesByUser.set(userId, this.usageOf(userId) + byteLength)
  }

  #uploadOf(hash: string): Upload {
    let upload = this.#uploads.get(hash)
    if (upload === undefined) {
      upload = { byUser: new Map(), sentAtByHolder: new Map() }
      this.#uploads.set(hash, upload)
    }
    return upload
  }

  checkHolders(hash: string, holders: readonly string[]): BlobHolding {
    const upload = this.#uploads.get(hash)
    if (upload === undefined) return 'unknown'
    return holders.some((holder) => upload.sentAtByHolder.has(holder)) ? 'held' : 'held-by-others'
  }

  usageOf(userId: string): number {
    return this.#bytesByUser.get(userId) ?? 0
  }

  isKnown(hash: string): boolean {
    return this.#uploads.has(hash) || this.#referrers.has(hash) || this.#manifestsByChunk.has(hash)
  }

  deleteUploads(hashes: readonly string[], sentThrough: number): void {
    for (const hash of hashes) {
      const upload = this.#uploads.get(hash)
      if (upload === undefined) continue
      for (const [userId, { byteLength, sentAt }] of upload.byUser) {
        if (sentAt > sentThrough) continue
        upload.byUser.delete(userId)
        this.#bytesByUser.set(userId, this.usageOf(userId) - byteLength)
      }
      for (const [holder, sentAt] of upload.sentAtByHolder) {
        if (sentAt <= sentThrough) upload.sentAtByHolder.delete(holder)
      }
      if (upload.byUser.size === 0 && upload.sentAtByHolder.size === 0) this.#uploads.delete(hash)
    }
  }
}

function sortKey({ collection, recordId }: Pick<BlobReferrer, 'collection' | 'recordId'>): string {
  return `${collection}\u0000${recordId}`
}
