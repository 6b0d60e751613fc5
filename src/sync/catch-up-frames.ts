import type { Frame } from '../protocol/frame.ts'

/** A batch of an initial stream that other streams of the same view can send as it is. */
export interface CatchUpBatch {
  readonly frame: Frame
  /** Delivery sequence of its last entry; more entries follow it in the log. */
  readonly max: number
  readonly entryCount: number
  /** Node → the lowest sequence number that it has in here. */
  readonly authors: ReadonlyMap<string, number>
}

/**
 * As far as one stream may be ahead of its client. More would outlive the young heap, whose
 * collection frees what is sent at once; 4 MB took 40 MB of memory and found little more.
 */
const MAX_BYTES = 1024 * 1024

/**
 * The newest batches of the initial streams of one view: where several clients catch up side by
 * side, as after an outage or with a new version of an app, each batch is read and encoded once.
 */
export class CatchUpFrames {
  readonly #batches = new Map<string, CatchUpBatch>()
  readonly #reading = new Map<string, Promise<void>>()
  #streams = 0
  #bytes = 0

  /** True while there is anybody to share with. */
  get isShared(): boolean {
    return this.#streams > 1
  }

  /** A stream begins to catch up; it says when it ends. */
  join(): void {
    this.#streams++
  }

  leave(): void {
    this.#streams--
    if (this.isShared) return
    this.#batches.clear()
    this.#bytes = 0
  }

  get(key: string): CatchUpBatch | undefined {
    return this.#batches.get(key)
  }

  /** Resolves when the stream that is about to make this batch has made it; null: nobody is. */
  whenMade(key: string): Promise<void> | null {
    return this.#reading.get(key) ?? null
  }

  /** Notes that a stream makes this batch, until `making` settles. */
  make(key: string, making: Promise<void>): Promise<void> {
    const settled = making.finally(() => this.#reading.delete(key))
    this.#reading.set(
      key,
      settled.catch(() => {}),
    )
    return settled
  }

  add(key: string, batch: CatchUpBatch): void {
    if (!this.isShared || this.#batches.has(key)) return
    this.#batches.set(key, batch)
    this.#bytes += batch.frame.bytes.byteLength
    for (const [oldest, { frame }] of this.#batches) {
      if (this.#bytes <= MAX_BYTES) return
      this.#bytes -= frame.bytes.byteLength
      this.#batches.delete(oldest)
    }
  }
}
