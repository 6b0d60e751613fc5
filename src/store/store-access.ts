import { StoreError } from '../core/errors.ts'

export interface StoreAccessOptions {
  /** The name of the database in errors; a connection string is reduced to its database and host. */
  readonly name: string
  readonly isReadOnly: boolean
}

/**
 * The only access to the parts of a store that use its data: nothing else holds them, so nothing can read a closed
 * store, or write to a read-only one.
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
   * Runs an action that only reads.
   *
   * @throws StoreError `STORE_CLOSED`
   */
  read<Result>(action: (parts: Parts) => Result): Result {
    this.assertOpen()
    return action(this.#parts)
  }

  /**
   * Runs an action that writes.
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

  /** @returns the parts, for the caller to end; null when it was closed before */
  close(): Parts | null {
    if (this.#isClosed) return null
    this.#isClosed = true
    return this.#parts
  }
}
