/** Of all together: some 4000 that were told in a message or two why. */
const MAX_BYTES = 16 * 1024 * 1024
/** What is kept of a client beside what waits for it. */
const CLIENT_BYTES = 3000

/**
 * Polling clients whose session has ended, which are kept so that they can be told why. Anybody can make
 * sessions end, by a handshake under a new id each time: the oldest have to go.
 */
export class EndedClients {
  readonly #bytesById = new Map<string, number>()
  #bytes = 0

  get size(): number {
    return this.#bytesById.size
  }

  /**
   * @param bytes what waits for it
   * @returns those that there is no room for any more, the oldest first
   */
  add(clientId: string, bytes: number): readonly string[] {
    this.delete(clientId)
    this.#bytesById.set(clientId, bytes + CLIENT_BYTES)
    this.#bytes += bytes + CLIENT_BYTES
    const oldest: string[] = []
    let left = this.#bytes
    for (const [id, taken] of this.#bytesById) {
      if (left <= MAX_BYTES) break
      oldest.push(id)
      left -= taken
    }
    return oldest
  }

  delete(clientId: string): void {
    this.#bytes -= this.#bytesById.get(clientId) ?? 0
    this.#bytesById.delete(clientId)
  }
}
