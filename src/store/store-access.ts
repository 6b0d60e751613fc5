import { StoreError } from '../core/errors.ts'

export interface StoreAccessOptions {
  /** What an error calls the database; nothing of a connection string but its database and host. */
  readonly name: string
  readonly isReadOnly: boolean
}

/**
 * The one way to the parts of a store that get at its data: nothing else holds these, so that nothing reads a store that
 * is closed, or writes one that is only read.
 */
export class StoreAccess<Parts> {
  readonly #parts: Parts
  readonly #name: string
  readonly isReadOnly: boolean
  #isClosed = false

  constructor(parts: Parts, { name, isReadOnly }: StoreAccessOptions) {
    this.#parts = parts
    this.#name = name
    this.isReadOnly = isReadOnly
  }

  /**
   * Runs what only reads.
   *
   * @throws StoreError `STORE_CLOSED`
   */
  read<Result>(action: (parts: Parts) => Result): Result {
    this.assertOpen()
    return action(this.#parts)
  }

  /**
   * Runs what writes.
   *
   * @throws StoreError `STORE_CLOSED`, `STORE_UNAVAILABLE`
   */
  write<Result>(action: (parts: Parts) => Result): Result {
    this.assertWritable()
    return action(this.#parts)
  }

  /** @throws StoreError `STORE_CLOSED` */
  assertOpen(): void {
    if (this.#isClosed) throw new StoreError('STORE_CLOSED', 'The store is closed. Open a new one.')
  }

  /** @throws StoreError `STORE_CLOSED`, `STORE_UNAVAILABLE` */
  assertWritable(): void {
    this.assertOpen()
    if (!this.isReadOnly) return
    throw new StoreError('STORE_UNAVAILABLE', `${this.#name} was opened to be read only.`)
  }

  /** @returns the parts, to be ended; null when it was closed before */
  close(): Parts | null {
    if (this.#isClosed) return null
    this.#isClosed = true
    return this.#parts
  }
}
