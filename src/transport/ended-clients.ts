/** Bytes of all ended clients together: some 4000 that have a message or two left to read. */
const MAX_BYTES = 16 * 1024 * 1024
/** Memory of a client beside its queued messages. */
const CLIENT_BYTES = 3000

/**
 * Polling clients whose session has ended, kept so that they can be told why. Anyone can make sessions end, by a
 * handshake under a new id each time, so the oldest are dropped.
 */
export class EndedClients<Client> {
  readonly #bytesByClient = new Map<Client, number>()
  #bytes = 0

  get size(): number {
    return this.#bytesByClient.size
  }

  /**
   * @param bytes of the messages that wait for it
   * @returns the clients for which there is no room any more, the oldest first
   */
  add(client: Client, bytes: number): readonly Client[] {
    this.delete(client)
    this.#bytesByClient.set(client, bytes + CLIENT_BYTES)
    this.#bytes += bytes + CLIENT_BYTES
    const oldest: Client[] = []
    let left = this.#bytes
    for (const [candidate, taken] of this.#bytesByClient) {
      if (left <= MAX_BYTES) break
      oldest.push(candidate)
      left -= taken
    }
    return oldest
  }

  delete(client: Client): void {
    this.#bytes -= this.#bytesByClient.get(client) ?? 0
    this.#bytesByClient.delete(client)
  }
}
