/** Of the bound, which delivery keeps; answers, and one chunk of a blob, come on top. */
const MAX_BACKLOG_FACTOR = 4
/** A client that reads nothing for this long while its buffer is full is cut off: within 30 s, seen once a second. */
const MAX_BLOCKED_MS = 29_000

/** What one connection has been sent and has not taken yet. */
export class Backlog {
  readonly #transport: { readonly bufferedBytes?: number }
  readonly #maxBytes: number
  /** ms, monotonic */
  #blockedSince: number | null = null
  #bytesBefore = 0

  /** @param maxBytes above it delivery waits */
  constructor(transport: { readonly bufferedBytes?: number }, maxBytes: number) {
    this.#transport = transport
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#transport.bufferedBytes ?? 0
  }

  get isFull(): boolean {
    return this.bytes >= this.#maxBytes
  }

  /** True when even the answers that are due find no room any more. */
  get isTooMuch(): boolean {
    return this.bytes >= this.#maxBytes * MAX_BACKLOG_FACTOR
  }

  /** True when it was full at the last look. */
  get isBlocked(): boolean {
    return this.#blockedSince !== null
  }

  /** Looks whether it is full, and whether it has been for too long. */
  isStuck(now: number): boolean {
    if (!this.isFull) this.#blockedSince = null
    else this.#blockedSince ??= now
    return this.#blockedSince !== null && now - this.#blockedSince >= MAX_BLOCKED_MS
  }

  /**
   * True when some of it was taken since the last look: a slow network takes from the buffer what its
   * client cannot have acknowledged yet.
   */
  hasShrunk(): boolean {
    const before = this.#bytesBefore
    this.#bytesBefore = this.bytes
    return this.#bytesBefore > 0 && this.#bytesBefore < before
  }
}
