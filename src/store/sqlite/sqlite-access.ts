import { StoreAccess } from '../store-access.ts'
import type { SqliteDatabase } from './driver.ts'
import { LogRows } from './log-rows.ts'
import type { SqliteCore } from './sqlite-core.ts'
import type { PageSource } from './sqlite-delivery.ts'
import { toStoreError } from './sqlite-errors.ts'

/** Enough: another process would have to commit during each of them. */
const MAX_TRIES = 3

interface WithCore {
  readonly core: SqliteCore
}

type Transaction<Given> = (action: (given: Given) => unknown) => unknown

/** The access to a store that reads and writes by transactions on one file. */
export class SqliteAccess<Parts extends WithCore> {
  readonly #access: StoreAccess<Parts>
  readonly #parts: Parts
  /**
   * Gives several statements the same state of the file beside another process. Made once, because that takes as
   * long as a short read.
   */
  readonly #inOneMoment: Transaction<Parts>
  readonly #pages: {
    readonly db: SqliteDatabase
    readonly rows: LogRows
    readonly inOneMoment: Transaction<void>
  } | null

  /** @param options.pages a connection for rows of the log; null if there is only one */
  constructor(parts: Parts, options: { isReadOnly: boolean; pages: SqliteDatabase | null }) {
    const { core } = parts
    this.#access = new StoreAccess(parts, { name: core.filename, isReadOnly: options.isReadOnly })
    this.#parts = parts
    this.#inOneMoment = core.db.transaction((action: (parts: Parts) => unknown) => {
      core.refreshIfForeign()
      return action(parts)
    })
    const { pages: db } = options
    this.#pages = db && {
      db,
      rows: new LogRows(db),
      inOneMoment: db.transaction((action: () => unknown) => action()),
    }
  }

  get isReadOnly(): boolean {
    return this.#access.isReadOnly
  }

  /**
   * Runs an action that only reads; all of it sees the same state of the file.
   *
   * @throws StoreError
   */
  read<Result>(action: (parts: Parts) => Result): Result {
    this.#access.assertOpen()
    try {
      return this.#inOneMoment(action) as Result
    } catch (error) {
      throw toStoreError(error, this.#parts.core.filename)
    }
  }

  /**
   * Reads pages of the log through a separate connection, so that a long log that is read once does not displace
   * the pages that every write needs. Both connections see the same unless another process commits meanwhile; then
   * all is read again.
   *
   * @throws StoreError
   */
  readPages<Result>(action: (source: PageSource) => Result): Result {
    this.#access.assertOpen()
    const { core } = this.#parts
    const pages = this.#pages
    for (let tries = 0; pages !== null && tries < MAX_TRIES; tries++) {
      try {
        const source = { core, rows: pages.rows }
        const result = this.read(() => pages.inOneMoment(() => action(source))) as Result
        if (!this.#isBehind()) return result
      } catch (error) {
        if (!this.#isBehind()) throw error // otherwise a row may refer to data that only the other connection sees
      }
    }
    return this.read(() => action({ core, rows: core.log.rows }))
  }

  #isBehind(): boolean {
    const { core } = this.#parts
    try {
      return core.isBehind
    } catch (error) {
      throw toStoreError(error, core.filename)
    }
  }

  /** Runs `action` in a transaction of its own. @see WriteQueue.run */
  write<Result>(action: (parts: Parts) => Result): Promise<Result> {
    this.#access.assertWritable()
    const parts = this.#parts
    return parts.core.writes.run(() => action(parts))
  }

  /**
   * Runs an action that reads in steps, outside of a transaction; it begins those that it needs.
   *
   * @throws StoreError `STORE_CLOSED`
   */
  readInSteps<Result>(action: (parts: Parts) => Result): Result {
    return this.#access.read(action)
  }

  /**
   * Runs an action that writes in steps, outside of a transaction; it begins those that it needs.
   *
   * @throws StoreError `STORE_CLOSED`, `STORE_UNAVAILABLE`
   */
  writeInSteps<Result>(action: (parts: Parts) => Result): Result {
    return this.#access.write(action)
  }

  /**
   * Closes the connection for pages first: the last connection to close moves the write-ahead log into the file.
   *
   * @returns false when it was closed before
   */
  close(): boolean {
    if (this.#access.close() === null) return false
    this.#pages?.db.close()
    this.#parts.core.db.close()
    return true
  }
}
