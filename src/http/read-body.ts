import type { IncomingMessage } from 'node:http'

/**
 * @param onBytes called with the bytes that have come, before they are kept
 * @returns null when the body is larger than `maxBytes`; the rest of it is not read
 */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
  onBytes: (bytes: number) => void = () => {},
): Promise<Buffer | null> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return null
  const body = new Pieces()
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (body.length + chunk.byteLength > maxBytes) return null
    onBytes(chunk.byteLength)
    body.append(chunk)
  }
  return body.toBuffer()
}

const NO_ROOM = Buffer.alloc(0)
const MIN_PIECE_BYTES = 1024
const MAX_PIECE_BYTES = 64 * 1024
/** Half of what Node reads at once, all of which a kept chunk may hold in memory. */
const MIN_LARGE_BYTES = 32 * 1024

/**
 * Collects bytes that may come one at a time. Small chunks are copied together, because a kept chunk may hold more
 * memory than its content. Large ones are kept: copies of them would be garbage when many bodies are given up.
 */
class Pieces {
  readonly #pieces: Buffer[] = []
  /** The unused rest of the last piece. */
  #room: Buffer = NO_ROOM
  #length = 0

  get length(): number {
    return this.#length
  }

  append(chunk: Buffer): void {
    const copiedBytes = chunk.copy(this.#room)
    this.#room = this.#room.subarray(copiedBytes)
    if (copiedBytes < chunk.byteLength) this.#addPiece(chunk.subarray(copiedBytes))
    this.#length += chunk.byteLength
  }

  /** The bytes; the memory of the last piece may be larger than its content. */
  toBuffer(): Buffer {
    const [first] = this.#pieces
    return first?.byteLength === this.#length ? first : Buffer.concat(this.#pieces, this.#length)
  }

  #addPiece(chunk: Buffer): void {
    const isFirst = this.#pieces.length === 0 // most bodies have only one
    if (isFirst || chunk.byteLength >= MIN_LARGE_BYTES) {
      this.#pieces.push(chunk)
      return
    }
    const size = Math.min(Math.max(this.#length, MIN_PIECE_BYTES), MAX_PIECE_BYTES)
    const piece = Buffer.allocUnsafe(Math.max(size, chunk.byteLength))
    this.#pieces.push(piece)
    this.#room = piece.subarray(chunk.copy(piece))
  }
}
