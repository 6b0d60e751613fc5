import { StoreError } from '../../core/errors.ts'
import type { SqliteCore } from './sqlite-core.ts'
import { toStoreError } from './sqlite-errors.ts'

/** How everything of a store gets at its database: while that is open, and as far as it may. */
export class StoreAccess {
  readonly #core: SqliteCore
  readonly #isReadOnly: boolean
  /** Several statements see one moment beside another process. Made once: that takes as long as a short read. */
  readonly #inOneMoment: (action: () => unknown) => unknown
  #isClosed = false

  constructor(core: SqliteCore, { isReadOnly }: { isReadOnly: boolean }) {
    this.#core = core
    this.#isReadOnly = isReadOnly
    this.#inOneMoment = core.db.transaction((action: () => unknown) => {
      core.refreshIfForeign()
      return action()
    })
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
    throw new StoreError('STORE_UNAVAILABLE', `${this.#core.filename} was opened to be read only.`)
  }

  /**
   * Runs what only reads; all of it sees one moment.
   *
   * @throws StoreError
   */
  read<Result>(action: () => Result): Result {
    this.assertOpen()
    try {
      return this.#inOneMoment(action) as Result
    } catch (error) {
      throw toStoreError(error, this.#core.filename)
    }
  }

  /** Runs `action` in a transaction of its own. @see WriteQueue.run */
  write<Result>(action: () => Result): Promise<Result> {
    this.assertWritable()
    return this.#core.writes.run(action)
  }

  /** @returns false when it was closed before */
  close(): boolean {
    if (this.#isClosed) return false
    this.#isClosed = true
    return true
  }
}
