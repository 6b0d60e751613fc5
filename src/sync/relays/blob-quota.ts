import type { Runtime } from '../../core/runtime.ts'
import type { BlobIndex } from '../../store/blob-index.ts'

export interface BlobQuotaOptions {
  readonly store: Pick<BlobIndex, 'getBlobUsage'>
  readonly runtime: Pick<Runtime, 'monotonicNow'>
  readonly maxBytesPerUser: number
}

interface Usage {
  bytes: number
}

interface Reading {
  readonly readAt: number
  readonly usage: Promise<Usage>
}

/**
 * How long a sum counts: to add it up takes the longer the more a user has stored, but other servers may have
 * stored more.
 */
const READ_AGAIN_AFTER_MS = 60_000
const MAX_REMEMBERED_USERS = 10_000

/** How much each user may still store: the sum that the store knows, and what has been granted since it was read. */
export class BlobQuota {
  readonly #options: BlobQuotaOptions
  readonly #readingByUser = new Map<string, Reading>()

  constructor(options: BlobQuotaOptions) {
    this.#options = options
  }

  /**
   * What was stored before counts again, until the sum is read again.
   *
   * @returns what gives it back, for content that is not stored after all; null when so much is not left
   */
  async take(userId: string, byteLength: number): Promise<(() => void) | null> {
    const usage = await this.#usageOf(userId)
    if (usage.bytes + byteLength > this.#options.maxBytesPerUser) return null
    usage.bytes += byteLength
    return () => {
      usage.bytes -= byteLength
    }
  }

  #usageOf(userId: string): Promise<Usage> {
    const now = this.#options.runtime.monotonicNow()
    const known = this.#readingByUser.get(userId)
    if (known !== undefined && now - known.readAt < READ_AGAIN_AFTER_MS) return known.usage
    if (this.#readingByUser.size >= MAX_REMEMBERED_USERS) this.#readingByUser.clear()
    const usage = this.#options.store.getBlobUsage(userId).then((bytes) => ({ bytes }))
    this.#readingByUser.set(userId, { readAt: now, usage })
    usage.catch(() => this.#readingByUser.delete(userId))
    return usage
  }
}
