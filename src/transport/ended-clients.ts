/** Bytes of all together: some 4000 that were told in a message or two why. */
const MAX_BYTES = 16 * 1024 * 1024
/** What is kept of a client beside what waits for it. */
const CLIENT_BYTES = 3000

/**
 * Polling clients whose session has ended, which are kept so that they can be told why. Anybody can make
 * sessions end, by a handshake under a new id each time: the oldest have to go.
 */
export class EndedClients<Client> {
  readonly #bytesByClient = new Map<Client, number>()
  #bytes = 0

  get size(): number {
    return this.#bytesByClient.size
  }

  /**
   * @param bytes what waits for it
   * @returns those that there is no room for any more, the oldest first
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
