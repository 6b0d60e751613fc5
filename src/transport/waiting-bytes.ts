/**
 * Memory of each waiting message beside its bytes: 0.6 to 1.4 kB in a WebSocket, for messages of 0.1 to 5 kB, and
 * 0.6 kB in the queue of a polling client.
 */
export const MESSAGE_OVERHEAD_BYTES = 1000

/** Sizes of sent messages are dropped from the array once there are this many, and more than of waiting ones. */
const SHIFT_AFTER = 1024

/** The memory that the unsent messages of a WebSocket take, which itself counts only their bytes. */
export class WaitingBytes {
  readonly #webSocket: { readonly bufferedAmount: number }
  /**
   * Size of each waiting message, in order; the oldest leaves first. A mean would let large messages hide small
   * ones.
   */
  #sizes: number[] = []
  /** Index of the oldest waiting message. */
  #start = 0
  /** Sum of the sizes of the waiting messages. */
  #bytes = 0

  constructor(webSocket: { readonly bufferedAmount: number }) {
    this.#webSocket = webSocket
  }

  get total(): number {
    this.#forgetSent()
    return this.#webSocket.bufferedAmount + (this.#sizes.length - this.#start) * MESSAGE_OVERHEAD_BYTES
  }

  /** Called just before a message is sent. */
  noteSending(bytes: number): void {
    if (this.#webSocket.bufferedAmount === 0) {
      this.#sizes = [bytes] // a new array: one emptied and pushed to would take 130 bytes more per idle connection
      this.#start = 0
      this.#bytes = bytes
      return
    }
    this.#forgetSent()
    this.#sizes.push(bytes)
    this.#bytes += bytes
  }

  /**
   * Forgets messages that have left. Frame headers wait too, so the last message to leave is counted a little
   * longer.
   */
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
