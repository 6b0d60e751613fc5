import type { Frame } from '../../protocol/frame.ts'
import type { DeliveredEntry } from '../../store/store.ts'

/** A batch of an initial stream that other streams of the same view can send as it is. */
export interface CatchUpBatch {
  readonly frame: Frame
  /** The delivery sequence that it reaches. It is not the final batch of any stream. */
  readonly max: number
  readonly entryCount: number
  /** Node → the lowest sequence number that it has in here. */
  readonly authors: ReadonlyMap<string, number>
}

/**
 * How far one stream may be ahead of another that still finds its batches here. A stream that came first starts
 * with some 2 MB, and each may be 1 MB ahead of its client. With 1 MB eight clients fell into two to five groups,
 * with 4 MB now and then into two, each of which read the log anew.
 */
const MAX_BYTES_OF_VIEW = 8 * 1024 * 1024
/** The bound once a batch had to be dropped that only the stream which made it had used. */
const MIN_BYTES_OF_VIEW = 1024 * 1024
/** Bytes of the batches of all views together; with more of them at once, some share nothing. */
const MAX_BYTES = 16 * 1024 * 1024

interface KeptBatch extends CatchUpBatch {
  /** Streams that have sent this batch, or one of their own in its place. */
  passedBy: number
  /** Streams that had left before the batch was made, and will not ask for it. */
  readonly leftBefore: number
}

/** Bytes that the frames of all views take. */
export interface CatchUpBudget {
  bytes: number
}

/**
 * The newest batches of the initial streams of one view: where several clients catch up side by
 * side, as after an outage or with a new version of an app, each batch is read and encoded once.
 */
export class CatchUpFrames {
  readonly #batches = new Map<string, KeptBatch>()
  readonly #making = new Map<string, Promise<boolean>>()
  readonly #budget: CatchUpBudget
  /** All streams that ever joined, including those that have left. */
  #joined = 0
  #left = 0
  #bytes = 0
  #maxBytes = MAX_BYTES_OF_VIEW

  constructor(budget: CatchUpBudget) {
    this.#budget = budget
  }

  /** True while there is another stream to share with. */
  get isShared(): boolean {
    return this.#joined - this.#left > 1
  }

  /** A stream begins to catch up; it says when it ends. */
  join(): void {
    this.#joined++
  }

  leave(): void {
    this.#left++
    if (!this.isShared) for (const key of this.#batches.keys()) this.#drop(key)
  }

  get(key: string): CatchUpBatch | undefined {
    return this.#batches.get(key)
  }

  /**
   * Called when a stream has sent this batch, or one of its own in its place. A batch that all have passed is
   * dropped.
   */
  notePassed(key: string): void {
    const batch = this.#batches.get(key)
    if (batch === undefined) return
    batch.passedBy++
    this.#maxBytes = MAX_BYTES_OF_VIEW
    if (batch.passedBy === this.#joined - batch.leftBefore) this.#drop(key)
  }

  /**
   * Resolves when the stream that is making this batch has made it and some that follow, or with false when that
   * stream has left; null: no stream is making it.
   */
  whenMade(key: string): Promise<boolean> | null {
    return this.#making.get(key) ?? null
  }

  /**
   * Notes that a stream makes this batch and some that follow it, until `making` settles.
   *
   * @param making resolves with false when the stream has left before
   */
  make(key: string, making: Promise<boolean>): Promise<boolean> {
    // A failed read ends its own session. The others read for themselves, all at once: one after the other, each
    // would wait for a database that does not answer.
    const settled = making.catch(() => true)
    this.#making.set(key, settled)
    void settled.then(() => {
      if (this.#making.get(key) === settled) this.#making.delete(key)
    })
    return making
  }

  /** A stream has made this batch, and sent it. */
  add(key: string, batch: CatchUpBatch): void {
    if (this.#batches.has(key)) {
      this.notePassed(key)
      return
    }
    if (!this.isShared) return
    this.#batches.set(key, { ...batch, passedBy: 1, leftBefore: this.#left })
    this.#count(batch.frame.bytes.byteLength)
    this.#makeRoom()
  }

  #makeRoom(): void {
    for (const [key, { passedBy }] of this.#batches) {
      if (this.#bytes <= this.#maxBytes && this.#budget.bytes <= MAX_BYTES) return
      this.#drop(key)
      if (passedBy === 1) this.#maxBytes = MIN_BYTES_OF_VIEW
    }
  }

  #drop(key: string): void {
    this.#count(-(this.#batches.get(key)?.frame.bytes.byteLength ?? 0))
    this.#batches.delete(key)
  }

  #count(bytes: number): void {
    this.#bytes += bytes
    this.#budget.bytes += bytes
  }
}

/** Maps each node to its lowest sequence number among the entries. */
export function authorsOf(entries: readonly DeliveredEntry[]): ReadonlyMap<string, number> {
  const lowest = new Map<string, number>()
  for (const { nodeId, sequenceNumber } of entries) {
    const known = lowest.get(nodeId)
    if (known === undefined || sequenceNumber < known) lowest.set(nodeId, sequenceNumber)
  }
  return lowest
}
