import { StoreError } from '../../core/errors.ts'

/** Whether the store is open. There is nothing else to get at here: it is never read only. */
export class StoreAccess {
  #isClosed = false

  /** @throws StoreError `STORE_CLOSED` */
  assertOpen(): void {
    if (this.#isClosed) throw new StoreError('STORE_CLOSED', 'The store is closed. Open a new one.')
  }

  close(): void {
    this.#isClosed = true
  }
}
