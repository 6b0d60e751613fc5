import type { IncomingMessage } from 'node:http'

/** As much as the largest handshakes of 16 polling clients. */
const MAX_BYTES = 16 * 1024 * 1024
/** What a chunk takes beside its bytes: a body may come a byte at a time. */
const CHUNK_BYTES = 200

/**
 * The bodies that are being read of those whom nobody has authenticated yet. Anybody can send them, as slowly as they like
 * and over any number of connections, so all of them together are bounded. With more, the largest has to go: who
 * sends no more than a client does, is served beside it.
 */
export class StrangerBodies {
  readonly #bytesByRequest = new Map<IncomingMessage, number>()
  #bytes = 0

  /** Counts a chunk that was read of a body, until all of it is. What there is no room for is destroyed. */
  count(request: IncomingMessage, chunkBytes: number): void {
    const bytes = chunkBytes + CHUNK_BYTES
    const before = this.#bytesByRequest.get(request)
    if (before === undefined) request.once('close', () => this.#forget(request))
    this.#bytesByRequest.set(request, (before ?? 0) + bytes)
    this.#bytes += bytes
    while (this.#bytes > MAX_BYTES) this.#destroyLargest()
  }

  #destroyLargest(): void {
    let largest: IncomingMessage | null = null
    let most = 0
    for (const [request, bytes] of this.#bytesByRequest) {
      if (bytes > most) {
        largest = request
        most = bytes
      }
    }
    if (largest === null) return
    this.#forget(largest)
    largest.destroy()
  }

  #forget(request: IncomingMessage): void {
    this.#bytes -= this.#bytesByRequest.get(request) ?? 0
    this.#bytesByRequest.delete(request)
  }
}
