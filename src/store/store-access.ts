import { StoreError } from '../core/errors.ts'

export interface StoreAccessOptions {
  /** What an error calls the database; nothing of a connection string but its database and host. */
  readonly name: string
  readonly isReadOnly: boolean
}

/** Whether everything of a store may get at its database: while that is open, and as far as it may. */
export class StoreAccess {
  readonly #name: string
  readonly isReadOnly: boolean
  #isClosed = false

  constructor({ name, isReadOnly }: StoreAccessOptions) {
    this.#name = name
    this.isReadOnly = isReadOnly
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

  /** @returns false when it was closed before */
  close(): boolean {
    if (this.#isClosed) return false
    this.#isClosed = true
    return true
  }
}
