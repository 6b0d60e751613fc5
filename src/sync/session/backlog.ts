import type { ServerTransport } from '../transport.ts'

type BufferedTransport = Pick<ServerTransport, 'bufferedBytes' | 'takenBytes'>

/** How many times the bound a backlog may be: delivery keeps to the bound, and answers come on top. */
const MAX_BACKLOG_FACTOR = 4
/** A client whose buffer is full is cut off when it has taken next to nothing for this long: within 30 s, seen once a second. */
const MAX_BLOCKED_MS = 29_000
/**
 * Share of the bound that is more than next to nothing: by default 64 KiB, which even a poor mobile link
 * takes.
 */
const MIN_TAKEN_SHARE = 1 / 64

/** What one connection has been sent and has not taken yet. */
export class Backlog {
  readonly #transport: BufferedTransport
  readonly #maxBytes: number
  /** ms, monotonic: since when it is full, and not enough was taken. */
  #blockedSince: number | null = null
  /** Bytes that were taken since then, and added since the last look. */
  #taken = 0
  #added = 0
  /** At the last look. */
  #bytesBefore = 0
  #takenBefore: number | undefined
  /** Bytes of the largest message since it became full, and of the one that made it so. */
  #largest = 0

  /** @param maxBytes above it delivery waits */
  constructor(transport: BufferedTransport, maxBytes: number) {
    this.#transport = transport
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#transport.bufferedBytes ?? 0
  }

  get isFull(): boolean {
    return this.bytes >= this.#maxBytes
  }

  /**
   * True when even the answers that are due find no room any more. One message, as a chunk of a blob, may be
   * larger than all room for them, and does not count.
   */
  get isTooMuch(): boolean {
    return this.bytes >= Math.max(this.#maxBytes * MAX_BACKLOG_FACTOR, this.#maxBytes * 2 + this.#largest)
  }

  /** True when it was full at the last look. */
  get isBlocked(): boolean {
    return this.#blockedSince !== null
  }

  /** A message was sent, before which so many bytes waited. Some of it may have been taken at once. */
  grewFrom(bytesBefore: number): void {
    const added = Math.max(0, this.bytes - bytesBefore)
    if (this.isBlocked) this.#added += added
    this.#largest = bytesBefore < this.#maxBytes ? added : Math.max(this.#largest, added)
  }

  /**
   * The once-a-second look. `isStuck`: it has been full for too long, and next to nothing of it was taken; a client that
   * goes on reading is sent more at once, and may have it full at every look. `hasShrunk`: some of it was taken since
   * the last look; a slow network takes from the buffer what its client cannot have acknowledged yet.
   */
  look(now: number): { readonly isStuck: boolean; readonly hasShrunk: boolean } {
    const { bytes } = this
    const before = this.#bytesBefore
    const taken = this.#takenSinceLook()
    this.#bytesBefore = bytes
    this.#taken += taken ?? before + this.#added - bytes
    this.#added = 0
    if (!this.isFull) this.#blockedSince = null
    else if (this.#blockedSince === null || this.#taken >= this.#maxBytes * MIN_TAKEN_SHARE) {
      this.#blockedSince = now
      this.#taken = 0
    }
    return {
      isStuck: this.#blockedSince !== null && now - this.#blockedSince >= MAX_BLOCKED_MS,
      hasShrunk: bytes > 0 && (bytes < before || (taken ?? 0) > 0),
    }
  }

  /** As the network tells; undefined where it does not. */
  #takenSinceLook(): number | undefined {
    const before = this.#takenBefore
    this.#takenBefore = this.#transport.takenBytes
    return before === undefined || this.#takenBefore === undefined ? undefined : this.#takenBefore - before
  }
}
