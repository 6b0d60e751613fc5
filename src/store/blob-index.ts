/** A record that refers to a blob, or once did. */
export interface BlobReferrer {
  readonly collection: string
  readonly recordId: string
  /** The vector entry of the author of the reference; null when no identity was proved. */
  readonly author: string | null
}

/** A manifest that lists a chunk. */
export interface ListingManifest {
  readonly hash: string
  /** True where a record refers to it, or once did. */
  readonly isReferred: boolean
}

/** Bytes that a client has sent under their hash. */
export interface BlobUpload {
  readonly hash: string
  readonly byteLength: number
  readonly userId: string
  /** On whose behalf it was sent: texts that have a meaning only for the caller. */
  readonly holders: readonly string[]
}

/** `unknown`: no client has sent these bytes here; they came from elsewhere. */
export type BlobHolding = 'held' | 'held-by-others' | 'unknown'

/**
 * Which clients may read which blob, and which blobs may be deleted: an index beside the log, maintained by
 * `append`. Its size, and the work that it adds to an append, depend on the references in operations, never on the
 * log.
 */
export interface BlobIndex {
  /**
   * Records with an operation that referred to the hash as a blob or a manifest, ordered by collection and id. Only
   * their present values tell whether they still do.
   *
   * @param after the last one of the previous page
   */
  readBlobReferrers(hash: string, limit: number, after?: BlobReferrer): Promise<readonly BlobReferrer[]>
  /**
   * Every hash of a blob or manifest that a live record refers to now.
   *
   * @param deletedThrough delivery sequence: a deleted record with an operation stored later still counts as live.
   *   Default: none do.
   */
  getLiveBlobRefs(deletedThrough?: number): Promise<ReadonlySet<string>>

  /** Remembers which chunks a manifest lists. Idempotent. */
  linkBlobChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void>
  /**
   * The manifests that list the chunk, ordered by their hash. There may be very many, because any client can create
   * them.
   *
   * @param after the last one of the previous page
   */
  readBlobManifests(chunkHash: string, limit: number, after?: string): Promise<readonly ListingManifest[]>

  /**
   * Notes on whose behalf bytes were sent, before they are stored: so that, whatever fails after that, they never
   * look as if they had come from elsewhere. They do not count towards any user's quota yet.
   */
  noteBlobHolders(hash: string, holders: readonly string[]): Promise<void>
  /** Notes that bytes were stored, on whose behalf, and whose quota they count towards. */
  recordBlobUpload(upload: BlobUpload): Promise<void>
  checkBlobHolders(hash: string, holders: readonly string[]): Promise<BlobHolding>
  /** Bytes that the user has sent and that are still stored; each hash counts once. */
  getBlobUsage(userId: string): Promise<number>
  /**
   * Which of the hashes are known: sent here by a client, referred to by a record at any time, or listed in a
   * manifest.
   */
  readKnownBlobs(hashes: readonly string[]): Promise<ReadonlySet<string>>
  /** Time of the last restore that replaced the log, ms since the epoch; null: never. */
  getLogReplacedAt(): Promise<number | null>
  /**
   * Forgets uploads whose bytes were deleted.
   *
   * @param sentThrough ms since the epoch: uploads after this, even repeated ones, stay known, because their bytes
   *   are back
   */
  forgetBlobs(hashes: readonly string[], sentThrough: number): Promise<void>
}
