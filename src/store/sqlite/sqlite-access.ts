import { StoreAccess } from '../store-access.ts'
import type { SqliteDatabase } from './driver.ts'
import { LogRows } from './log-rows.ts'
import type { SqliteCore } from './sqlite-core.ts'
import type { PageSource } from './sqlite-delivery.ts'
import { toStoreError } from './sqlite-errors.ts'

/** Another process would have to commit amid each of them. */
const MAX_TRIES = 3

type Transaction = (action: () => unknown) => unknown

/** How everything of a store gets at its file. */
export class SqliteAccess extends StoreAccess {
  readonly #core: SqliteCore
  /** Several statements see one moment beside another process. Made once: that takes as long as a short read. */
  readonly #inOneMoment: Transaction
  readonly #pages: {
    readonly db: SqliteDatabase
    readonly rows: LogRows
    readonly inOneMoment: Transaction
  } | null

  /** @param options.pages a connection for the rows of the log; null where there is but one */
  constructor(core: SqliteCore, options: { isReadOnly: boolean; pages: SqliteDatabase | null }) {
    super({ name: core.filename, isReadOnly: options.isReadOnly })
    this.#core = core
    this.#inOneMoment = core.db.transaction((action: () => unknown) => {
      core.refreshIfForeign()
      return action()
    })
    const { pages: db } = options
    this.#pages = db && {
      db,
      rows: new LogRows(db),
      inOneMoment: db.transaction((action: () => unknown) => action()),
    }
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

  /**
   * Reads pages of the log, by a connection of their own, so that what is read once of a long log does not take the place
   * of what each write needs. Both see the same where no other process has committed amid it; else all is read again.
   *
   * @throws StoreError
   */
  readPages<Result>(action: (source: PageSource) => Result): Result {
    this.assertOpen()
    const core = this.#core
    const pages = this.#pages
    for (let tries = 0; pages !== null && tries < MAX_TRIES; tries++) {
      try {
        const source = { core, rows: pages.rows }
        const result = this.read(() => pages.inOneMoment(() => action(source))) as Result
        if (!this.#isBehind()) return result
      } catch (error) {
        if (!this.#isBehind()) throw error // else a row may name what only the other connection sees
      }
    }
    return this.read(() => action({ core, rows: core.log.rows }))
  }

  #isBehind(): boolean {
    try {
      return this.#core.isBehind
    } catch (error) {
      throw toStoreError(error, this.#core.filename)
    }
  }

  /** Runs `action` in a transaction of its own. @see WriteQueue.run */
  write<Result>(action: () => Result): Promise<Result> {
    this.assertWritable()
    return this.#core.writes.run(action)
  }

  /** The connection of the pages first: the last one to be closed writes what is in the write-ahead log into the file. */
  override close(): boolean {
    if (!super.close()) return false
    this.#pages?.db.close()
    this.#core.db.close()
    return true
  }
}
