import type { IncomingMessage } from 'node:http'

/**
 * @param onBytes told of what has come, before it is kept
 * @returns null when the body is larger than `maxBytes`; the rest of it is not read
 */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
  onBytes: (bytes: number) => void = () => {},
): Promise<Buffer | null> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return null
  const body = new GrowingBytes()
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (body.length + chunk.byteLength > maxBytes) return null
    onBytes(chunk.byteLength)
    body.append(chunk)
  }
  return body.bytes
}

/** Bytes in one piece: a body may come a byte at a time, and chunks that are kept take more than what is in them. */
class GrowingBytes {
  #buffer: Buffer = Buffer.alloc(0)
  #length = 0

  get length(): number {
    return this.#length
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  append(chunk: Buffer): void {
    const length = this.#length + chunk.byteLength
    if (this.#length === 0) {
      this.#buffer = chunk // most bodies are one: it is taken as it is
    } else {
      if (length > this.#buffer.byteLength) this.#grow(length)
      chunk.copy(this.#buffer, this.#length)
    }
    this.#length = length
  }

  /** Twice as large at least, so that no byte is copied often. */
  #grow(leastBytes: number): void {
    const grown = Buffer.allocUnsafe(Math.max(leastBytes, 2 * this.#buffer.byteLength))
    this.#buffer.copy(grown, 0, 0, this.#length)
    this.#buffer = grown
  }
}
