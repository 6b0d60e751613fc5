import { StoreError } from '../../core/errors.ts'
import type { PostgresCore } from './postgres-core.ts'

/** Whether everything of a store may get at its database: while that is open, and as far as it may. */
export class StoreAccess {
  readonly #core: PostgresCore
  readonly #isReadOnly: boolean
  #isClosed = false

  constructor(core: PostgresCore, { isReadOnly }: { isReadOnly: boolean }) {
    this.#core = core
    this.#isReadOnly = isReadOnly
  }

  get isReadOnly(): boolean {
    return this.#isReadOnly
  }

  /** @throws StoreError `STORE_CLOSED` */
  assertOpen(): void {
    if (this.#isClosed) throw new StoreError('STORE_CLOSED', 'The store is closed. Open a new one.')
  }

  /** @throws StoreError `STORE_CLOSED`, `STORE_UNAVAILABLE` */
  assertWritable(): void {
    this.assertOpen()
    if (!this.#isReadOnly) return
    throw new StoreError('STORE_UNAVAILABLE', `${this.#core.db.name} was opened to be read only.`)
  }

  /** @returns false when it was closed before */
  close(): boolean {
    if (this.#isClosed) return false
    this.#isClosed = true
    return true
  }
}
