import type { Frame } from '../protocol/frame.ts'

/** A batch of an initial stream that other streams of the same view can send as it is. */
export interface CatchUpBatch {
  readonly frame: Frame
  /** The delivery sequence that it reaches. It is nobody's final batch. */
  readonly max: number
  readonly entryCount: number
  /** Node → the lowest sequence number that it has in here. */
  readonly authors: ReadonlyMap<string, number>
}

/**
 * As far as one stream may be ahead of its client. More would outlive the young heap, whose
 * collection frees what is sent at once; 4 MB took 40 MB of memory and found little more.
 */
const MAX_BYTES_OF_VIEW = 1024 * 1024
/** Of all views together; with more of them at once, some share nothing. */
const MAX_BYTES = 16 * 1024 * 1024

/** What the frames of all views take. */
export interface CatchUpBudget {
  bytes: number
}

/**
 * The newest batches of the initial streams of one view: where several clients catch up side by
 * side, as after an outage or with a new version of an app, each batch is read and encoded once.
 */
export class CatchUpFrames {
  readonly #batches = new Map<string, CatchUpBatch>()
  readonly #making = new Map<string, Promise<void>>()
  readonly #budget: CatchUpBudget
  #streams = 0
  #bytes = 0

  constructor(budget: CatchUpBudget) {
    this.#budget = budget
  }

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
    if (!this.isShared) for (const key of this.#batches.keys()) this.#drop(key)
  }

  get(key: string): CatchUpBatch | undefined {
    return this.#batches.get(key)
  }

  /** Resolves when the stream that is about to make this batch has made it; null: nobody is. */
  whenMade(key: string): Promise<void> | null {
    return this.#making.get(key) ?? null
  }

  /** Notes that a stream makes this batch, until `making` settles. */
  make(key: string, making: Promise<void>): Promise<void> {
    const settled = making.then(
      () => {},
      () => {}, // it ends its own session, and whoever waits looks for itself
    )
    this.#making.set(key, settled)
    void settled.then(() => {
      if (this.#making.get(key) === settled) this.#making.delete(key)
    })
    return making
  }

  add(key: string, batch: CatchUpBatch): void {
    if (!this.isShared || this.#batches.has(key)) return
    this.#batches.set(key, batch)
    this.#count(batch.frame.bytes.byteLength)
    for (const oldest of this.#batches.keys()) {
      if (this.#bytes <= MAX_BYTES_OF_VIEW && this.#budget.bytes <= MAX_BYTES) return
      this.#drop(oldest)
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
