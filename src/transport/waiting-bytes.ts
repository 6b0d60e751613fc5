/** What the process takes for each message that waits, beside its bytes: 0.6 to 1.4 kB, of messages of 0.1 to 5 kB. */
const MESSAGE_OVERHEAD_BYTES = 1000

/** The memory that what a WebSocket has yet to send takes, of which it counts the bytes alone. */
export class WaitingBytes {
  readonly #webSocket: { readonly bufferedAmount: number }
  /** Sent since nothing waited. */
  #messages = 0
  #messageBytes = 0

  constructor(webSocket: { readonly bufferedAmount: number }) {
    this.#webSocket = webSocket
  }

  get total(): number {
    const bytes = this.#webSocket.bufferedAmount
    if (this.#messageBytes === 0) return bytes
    const waiting = (bytes * this.#messages) / this.#messageBytes // those of mean size: which ones, nobody knows
    return bytes + Math.round(waiting) * MESSAGE_OVERHEAD_BYTES
  }

  /** A message is about to be sent. */
  noteSending(bytes: number): void {
    if (this.#webSocket.bufferedAmount === 0) {
      this.#messages = 0
      this.#messageBytes = 0
    }
    this.#messages++
    this.#messageBytes += bytes
  }
}
