import { StoreAccess } from '../store-access.ts'
import type { SqliteCore } from './sqlite-core.ts'
import { toStoreError } from './sqlite-errors.ts'

/** How everything of a store gets at its file. */
export class SqliteAccess extends StoreAccess {
  readonly #core: SqliteCore
  /** Several statements see one moment beside another process. Made once: that takes as long as a short read. */
  readonly #inOneMoment: (action: () => unknown) => unknown

  constructor(core: SqliteCore, { isReadOnly }: { isReadOnly: boolean }) {
    super({ name: core.filename, isReadOnly })
    this.#core = core
    this.#inOneMoment = core.db.transaction((action: () => unknown) => {
      core.refreshIfForeign()
      return action()
    })
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
}
