import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { BlobIndex } from '../blob-index.ts'
import { notePresentEnd, type PastEndStore, storedThrough } from '../compaction/past-ends.ts'
import { collectBlobGarbage, type GarbageReport } from './collect-blob-garbage.ts'
import { FilesystemBlobStore } from './filesystem-blob-store.ts'

export interface BlobStorageOptions {
  readonly directory: string
  readonly index: BlobIndex & PastEndStore
  readonly runtime: Runtime
  readonly logger: Logger
  /**
   * ms that content is kept after its push, and after the deletion of its record has arrived. Default 24 h, because
   * a device may be slow.
   */
  readonly graceMs?: number
  /** ms between two collections. Default 6 h. */
  readonly collectIntervalMs?: number
}

const DEFAULT_GRACE_MS = 24 * 3_600_000
/** Devices bring back records that a backup lacked, and may no longer have their content. */
const KEPT_AFTER_RESTORE_MS = 30 * 24 * 3_600_000
const DEFAULT_COLLECT_INTERVAL_MS = 6 * 3_600_000

/** Central storage of blobs in a directory, with its own garbage collection. */
export class BlobStorage {
  readonly #files: FilesystemBlobStore
  readonly #options: BlobStorageOptions
  #timer: Timer | null = null
  #collecting: Promise<GarbageReport> | null = null
  readonly #closing = new AbortController()

  private constructor(files: FilesystemBlobStore, options: BlobStorageOptions) {
    this.#files = files
    this.#options = options
  }

  /** @throws StoreError `STORE_OPEN_FAILED` when the directory cannot be used */
  static async open(options: BlobStorageOptions): Promise<BlobStorage> {
    const { directory, logger } = options
    const onDamaged = (hash: string) => logEvent(logger, LOG_EVENTS.blobDamaged, { hash })
    const storage = new BlobStorage(await FilesystemBlobStore.open({ directory, onDamaged }), options)
    storage.#schedule()
    return storage
  }

  /** For `KoraSyncServerConfig`. */
  readonly persistBlobChunk = (hash: string, bytes: Uint8Array): Promise<void> => this.#files.put(hash, bytes)

  readonly resolveBlobChunk = (hash: string): Promise<Uint8Array | null> => this.#files.get(hash)

  /**
   * Deletes content that no live record refers to. Only one collection runs at a time. Rejects when the storage is
   * closed meanwhile.
   */
  collectGarbage(): Promise<GarbageReport> {
    this.#collecting ??= this.#collect().finally(() => {
      this.#collecting = null
    })
    return this.#collecting
  }

  /** Ends the collections, a running one after its present step. Content that is pushed later is still stored. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#timer?.cancel()
    await this.#collecting?.catch(() => {})
  }

  async #collect(): Promise<GarbageReport> {
    const { index, runtime, logger, graceMs = DEFAULT_GRACE_MS } = this.#options
    const now = runtime.now()
    const replacedAt = await index.getLogReplacedAt()
    const past = await notePresentEnd(index, now)
    const report = await collectBlobGarbage({
      files: this.#files,
      index,
      runtime,
      signal: this.#closing.signal,
      cutoff: now - graceMs,
      deletedThrough: storedThrough(past, now - graceMs),
      ...(replacedAt !== null && now - replacedAt < KEPT_AFTER_RESTORE_MS && { keptBefore: replacedAt }),
      isLogReplaced: async () => (await index.getLogReplacedAt()) !== replacedAt,
    })
    if (report.deleted > 0) logEvent(logger, LOG_EVENTS.blobsCollected, { ...report })
    return report
  }

  #schedule(): void {
    if (this.#closing.signal.aborted) return
    const { runtime, logger, collectIntervalMs = DEFAULT_COLLECT_INTERVAL_MS } = this.#options
    this.#timer = runtime.setTimer(collectIntervalMs, () => {
      this.collectGarbage()
        .catch((error) => {
          if (!this.#closing.signal.aborted) logEvent(logger, LOG_EVENTS.blobFailed, { err: error })
        })
        .finally(() => this.#schedule())
    })
  }
}
