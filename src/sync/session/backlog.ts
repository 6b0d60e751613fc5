import type { ServerTransport } from '../transport.ts'

type BufferedTransport = Pick<ServerTransport, 'bufferedBytes' | 'takenBytes'>

/** How many times its bound a backlog may reach: delivery keeps to the bound, and answers come on top. */
const MAX_BACKLOG_FACTOR = 4
/**
 * How long a client with a full buffer may take next to nothing before it is cut off: within 30 s, at one check a
 * second.
 */
const MAX_BLOCKED_MS = 29_000
/**
 * The share of the bound above which a client has taken more than next to nothing: by default 64 KiB, which even a
 * poor mobile link takes.
 */
const MIN_TAKEN_SHARE = 1 / 64

/** The bytes that one connection has been sent and has not taken yet. */
export class Backlog {
  readonly #transport: BufferedTransport
  readonly #maxBytes: number
  /** ms, monotonic: since when it has been full without enough being taken. */
  #blockedSince: number | null = null
  /** Bytes taken since then, and bytes added since the last look. */
  #taken = 0
  #added = 0
  /** `bytes` at the last look. */
  #bytesBefore = 0
  #takenBefore: number | undefined
  /** Bytes of the largest message since it became full, including the one that filled it. */
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
   * True when there is no room left even for answers that are due. One message, such as a chunk of a blob, may be
   * larger than all that room, and does not count.
   */
  get isTooMuch(): boolean {
    return this.bytes >= Math.max(this.#maxBytes * MAX_BACKLOG_FACTOR, this.#maxBytes * 2 + this.#largest)
  }

  /** True when it was full at the last look. */
  get isBlocked(): boolean {
    return this.#blockedSince !== null
  }

  /**
   * Called after a message was sent; `bytesBefore` were waiting before it. Some of the message may have been taken
   * at once.
   */
  grewFrom(bytesBefore: number): void {
    const added = Math.max(0, this.bytes - bytesBefore)
    if (this.isBlocked) this.#added += added
    this.#largest = bytesBefore < this.#maxBytes ? added : Math.max(this.#largest, added)
  }

  /**
   * The once-a-second look. `isStuck`: it has been full for too long while next to nothing was taken. A client that
   * keeps reading is sent more at once, and may be full at every look. `hasShrunk`: some of it was taken since the
   * last look, and on a slow network the client may not have been able to acknowledge it yet.
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

  /** As reported by the network; undefined where it does not report. */
  #takenSinceLook(): number | undefined {
    const before = this.#takenBefore
    this.#takenBefore = this.#transport.takenBytes
    return before === undefined || this.#takenBefore === undefined ? undefined : this.#takenBefore - before
  }
}
