/** A record that refers to a blob, or did. */
export interface BlobReferrer {
  readonly collection: string
  readonly recordId: string
  /** Who put the reference there: the entry of the vector that is theirs; null when nobody has proved to be it. */
  readonly author: string | null
}

/** A manifest that lists a chunk. */
export interface ListingManifest {
  readonly hash: string
  /** Whether a record refers to it, or did. */
  readonly isReferred: boolean
}

/** Bytes that a client has sent under their hash. */
export interface BlobUpload {
  readonly hash: string
  readonly byteLength: number
  readonly userId: string
  /** On whose behalf: texts that mean something to the caller. */
  readonly holders: readonly string[]
}

/** `unknown`: no client has sent these bytes here, they came from elsewhere. */
export type BlobHolding = 'held' | 'held-by-others' | 'unknown'

/**
 * Who may read which blob, and what may be deleted: an index beside the log, kept by `append`. Its
 * size and the work of an append depend on the references in the operations, never on the log.
 */
export interface BlobIndex {
  /**
   * Records of which an operation referred to the hash as a blob or as a manifest, ordered by
   * collection and id. Whether one still does, its present values tell.
   *
   * @param after the last one of the page before
   */
  readBlobReferrers(hash: string, limit: number, after?: BlobReferrer): Promise<readonly BlobReferrer[]>
  /**
   * Every hash of a blob or manifest that a live record refers to now.
   *
   * @param deletedThrough delivery sequence: deleted records of which something was stored later count as live.
   *   Default: none do.
   */
  getLiveBlobRefs(deletedThrough?: number): Promise<ReadonlySet<string>>

  /** Remembers which chunks a manifest lists. Idempotent. */
  linkBlobChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void>
  /**
   * The manifests that list the chunk, ordered by their hash. Anybody can make as many as they like.
   *
   * @param after the last one of the page before
   */
  readBlobManifests(chunkHash: string, limit: number, after?: string): Promise<readonly ListingManifest[]>

  /**
   * Notes on whose behalf bytes were sent that are about to be stored: whatever fails after that, they do not lie
   * there as if they had come from elsewhere. Counts for nobody.
   */
  noteBlobHolders(hash: string, holders: readonly string[]): Promise<void>
  /** Notes bytes that were stored: whose they are, and of whom they count. */
  recordBlobUpload(upload: BlobUpload): Promise<void>
  checkBlobHolders(hash: string, holders: readonly string[]): Promise<BlobHolding>
  /** Bytes that the user has sent and that are still stored; each hash once. */
  getBlobUsage(userId: string): Promise<number>
  /** Those that a client has sent here, that a record has referred to, or that a manifest lists. */
  readKnownBlobs(hashes: readonly string[]): Promise<ReadonlySet<string>>
  /** When a restore has put another log in the place of the one there was, ms since the epoch; null: never. */
  getLogReplacedAt(): Promise<number | null>
  /**
   * Drops what is known of uploads whose bytes were deleted.
   *
   * @param sentThrough ms since the epoch: what was sent later, also again, stays known; its bytes are back
   */
  forgetBlobs(hashes: readonly string[], sentThrough: number): Promise<void>
}
