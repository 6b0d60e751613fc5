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
 * How long a sum is used before it is read again. The more a user has stored, the longer it takes to add up, but
 * other servers may have stored more.
 */
const READ_AGAIN_AFTER_MS = 60_000
const MAX_REMEMBERED_USERS = 10_000

/**
 * How much each user may still store: the quota less the sum that the store knows and the bytes granted since it
 * was read.
 */
export class BlobQuota {
  readonly #options: BlobQuotaOptions
  readonly #readingByUser = new Map<string, Reading>()

  constructor(options: BlobQuotaOptions) {
    this.#options = options
  }

  /**
   * Takes bytes from the quota. Content that was stored before counts twice until the sum is read again.
   *
   * @returns a function that gives the bytes back, for content that is not stored after all; null where the quota
   *   is exceeded
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
