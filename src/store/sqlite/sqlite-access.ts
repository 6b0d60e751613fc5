import { StoreAccess } from '../store-access.ts'
import type { SqliteDatabase } from './driver.ts'
import { LogRows } from './log-rows.ts'
import type { SqliteCore } from './sqlite-core.ts'
import type { PageSource } from './sqlite-delivery.ts'
import { toStoreError } from './sqlite-errors.ts'

/** Another process would have to commit amid each of them. */
const MAX_TRIES = 3

interface WithCore {
  readonly core: SqliteCore
}

type Transaction<Given> = (action: (given: Given) => unknown) => unknown

/** The access to a store whose reads and writes are transactions in one file. */
export class SqliteAccess<Parts extends WithCore> {
  readonly #access: StoreAccess<Parts>
  readonly #parts: Parts
  /** Several statements see one moment beside another process. Made once: that takes as long as a short read. */
  readonly #inOneMoment: Transaction<Parts>
  readonly #pages: {
    readonly db: SqliteDatabase
    readonly rows: LogRows
    readonly inOneMoment: Transaction<void>
  } | null

  /** @param options.pages a connection for the rows of the log; null where there is but one */
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
   * Runs what only reads; all of it sees one moment.
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
   * Reads pages of the log, by a connection of their own, so that what is read once of a long log does not take the place
   * of what each write needs. Both see the same where no other process has committed amid it; else all is read again.
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
        if (!this.#isBehind()) throw error // else a row may name what only the other connection sees
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
   * Runs what reads step by step: it is in no transaction, and begins those that it needs.
   *
   * @throws StoreError `STORE_CLOSED`
   */
  readInSteps<Result>(action: (parts: Parts) => Result): Result {
    return this.#access.read(action)
  }

  /**
   * Runs what writes step by step: it is in no transaction, and begins those that it needs.
   *
   * @throws StoreError `STORE_CLOSED`, `STORE_UNAVAILABLE`
   */
  writeInSteps<Result>(action: (parts: Parts) => Result): Result {
    return this.#access.write(action)
  }

  /**
   * Closes the connection of the pages first: the last one to be closed writes what is in the write-ahead log into the
   * file.
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
