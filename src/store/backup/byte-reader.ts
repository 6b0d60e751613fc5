import { createHash, type Hash } from 'node:crypto'
import { StoreError } from '../../core/errors.ts'
import { describeValue } from '../../protocol/json-value.ts'
import { invalidBackup } from './backup-format.ts'

const NEWLINE = 0x0a

/** The bytes of a backup, in pieces of any size. */
export type BackupBytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/** Takes lines and runs of bytes from a stream, and hashes them. It holds only what was asked for. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array> | Iterator<Uint8Array>
  readonly #hash = createHash('sha256')
  #pending: Buffer = Buffer.alloc(0)
  #bytesRead = 0
  #lastLine = ''

  constructor(source: BackupBytes) {
    this.#source = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  }

  get bytesRead(): number {
    return this.#bytesRead
  }

  /** The last line that was read, with its line feed. */
  get lastLine(): string {
    return this.#lastLine
  }

  /** SHA-256 of everything taken so far, as a copy that can be updated. */
  hash(): Hash {
    return this.#hash.copy()
  }

  /** The next line, without its line feed. */
  async line(maxBytes: number): Promise<string> {
    let end = this.#pending.indexOf(NEWLINE)
    while (end === -1) {
      if (this.#pending.byteLength > maxBytes) throw invalidBackup('it is damaged: a line has no end')
      if (!(await this.#fill())) throw invalidBackup('it ends too early')
      end = this.#pending.indexOf(NEWLINE)
    }
    if (end > maxBytes) throw invalidBackup('it is damaged: a line has no end')
    this.#lastLine = this.#take(end + 1).toString('utf8')
    return this.#lastLine.slice(0, -1)
  }

  async bytes(length: number): Promise<Buffer> {
    const chunks = [this.#pending]
    let available = this.#pending.byteLength
    while (available < length) {
      const { value, done } = await this.#source.next()
      if (done) throw invalidBackup('it ends too early')
      chunks.push(asBuffer(value))
      available += value.byteLength
    }
    this.#pending = chunks.length === 1 ? this.#pending : Buffer.concat(chunks)
    return this.#take(length)
  }

  async isAtEnd(): Promise<boolean> {
    while (this.#pending.byteLength === 0) if (!(await this.#fill())) return true
    return false
  }

  async close(): Promise<void> {
    await this.#source.return?.()
  }

  #take(length: number): Buffer {
    const taken = this.#pending.subarray(0, length)
    this.#pending = this.#pending.subarray(length)
    this.#hash.update(taken)
    this.#bytesRead += length
    return taken
  }

  async #fill(): Promise<boolean> {
    const { value, done } = await this.#source.next()
    if (done) return false
    this.#pending = this.#pending.byteLength === 0 ? asBuffer(value) : Buffer.concat([this.#pending, value])
    return true
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  if (!(bytes instanceof Uint8Array)) {
    throw new StoreError(
      'INVALID_ARGUMENT',
      `A backup is read in pieces of bytes, as a stream without an encoding has them. Got ${describeValue(bytes)}.`,
    )
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
