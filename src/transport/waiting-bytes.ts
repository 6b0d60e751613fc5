/**
 * What the process takes for each message that waits, beside its bytes: 0.6 to 1.4 kB in a WebSocket, of messages of
 * 0.1 to 5 kB, and 0.6 where it waits to be polled for.
 */
export const MESSAGE_OVERHEAD_BYTES = 1000

/** Sizes of messages that have left are let go when there are so many, and more than of those that wait. */
const SHIFT_AFTER = 1024

/** The memory that what a WebSocket has yet to send takes, of which it counts the bytes alone. */
export class WaitingBytes {
  readonly #webSocket: { readonly bufferedAmount: number }
  /**
   * Size of each message that waits, in order: the oldest leaves first. A mean would let large ones hide
   * small ones.
   */
  #sizes: number[] = []
  /** Index of the oldest. */
  #start = 0
  /** Sum of the sizes of those that wait. */
  #bytes = 0

  constructor(webSocket: { readonly bufferedAmount: number }) {
    this.#webSocket = webSocket
  }

  get total(): number {
    this.#forgetSent()
    return this.#webSocket.bufferedAmount + (this.#sizes.length - this.#start) * MESSAGE_OVERHEAD_BYTES
  }

  /** A message is about to be sent. */
  noteSending(bytes: number): void {
    if (this.#webSocket.bufferedAmount === 0) {
      this.#sizes = [bytes] // emptied and pushed to, it would take 130 bytes more of each idle connection
      this.#start = 0
      this.#bytes = bytes
      return
    }
    this.#forgetSent()
    this.#sizes.push(bytes)
    this.#bytes += bytes
  }

  /** Headers of frames wait, too: the last message to leave is counted a little longer. */
  #forgetSent(): void {
    const waiting = this.#webSocket.bufferedAmount
    let oldest = this.#sizes[this.#start]
    while (oldest !== undefined && (waiting === 0 || this.#bytes - oldest >= waiting)) {
      this.#bytes -= oldest
      this.#start++
      oldest = this.#sizes[this.#start]
    }
    if (this.#start < SHIFT_AFTER || this.#start * 2 < this.#sizes.length) return
    this.#sizes = this.#sizes.slice(this.#start)
    this.#start = 0
  }
}
