import { StoreError } from '../../core/errors.ts'
import { sleep } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { SqliteDatabase } from './driver.ts'
import { isBusy, toStoreError } from './sqlite-errors.ts'

// As long as clients wait for an acknowledgment, less a margin: after that they are told to come back.
const LOCK_WAIT_MS = 10_000
const LOCK_RETRY_MS = 50

interface SharedWrite {
  readonly run: () => void
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface WriteQueueOptions {
  readonly filename: string
  readonly runtime: Runtime
  /** Adopts what others have committed: runs first in every transaction. */
  readonly afterBegin: () => void
  /** Writes what waits in memory: runs last in every transaction. */
  readonly beforeCommit: () => void
  /** Forgets what memory has of the transaction, because it may not be stored. */
  readonly onRollback: () => void
}

/**
 * Runs write transactions one after the other. While another process holds the lock of the file, it waits on a
 * timer, so that reads, presence and everything else continue meanwhile.
 */
export class WriteQueue {
  readonly #db: SqliteDatabase
  readonly #filename: string
  readonly #runtime: Runtime
  readonly #afterBegin: () => void
  readonly #beforeCommit: () => void
  readonly #onRollback: () => void
  /** Writes that will share the next transaction. */
  #together: SharedWrite[] = []
  /** Settles when the last delayed write is done; null when none waits. */
  #waiting: Promise<unknown> | null = null

  constructor(
    db: SqliteDatabase,
    { filename, runtime, afterBegin, beforeCommit, onRollback }: WriteQueueOptions,
  ) {
    this.#db = db
    this.#filename = filename
    this.#runtime = runtime
    this.#afterBegin = afterBegin
    this.#beforeCommit = beforeCommit
    this.#onRollback = onRollback
  }

  /**
   * Runs `action` in a transaction of its own, which is durable when the promise resolves.
   *
   * @throws StoreError when the database cannot be written; nothing was
   */
  async run<Result>(action: () => Result): Promise<Result> {
    if (this.#waiting === null) {
      try {
        return this.#transact(action)
      } catch (error) {
        if (!isBusy(error)) throw toStoreError(error, this.#filename)
      }
    }
    const turn = (this.#waiting ?? Promise.resolve()).catch(() => {}).then(() => this.#retry(action))
    this.#waiting = turn
    try {
      return await turn
    } finally {
      if (this.#waiting === turn) this.#waiting = null
    }
  }

  /**
   * The same as `run`, in one transaction with all other calls in the same turn of the event loop: for writes that
   * many clients need at once, and that would otherwise wait for the disk one after the other. When one of the
   * actions throws, none takes effect.
   */
  runTogether<Result>(action: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      let result: Result
      const run = (): void => {
        result = action()
      }
      this.#together.push({ run, resolve: () => resolve(result), reject })
      if (this.#together.length === 1) this.#runtime.defer(() => void this.#runAllTogether())
    })
  }

  async #runAllTogether(): Promise<void> {
    const all = this.#together
    this.#together = []
    try {
      await this.run(() => {
        for (const { run } of all) run()
      })
    } catch (error) {
      for (const { reject } of all) reject(error)
      return
    }
    for (const { resolve } of all) resolve()
  }

  /**
   * Runs a statement that must be outside of a transaction.
   *
   * @throws StoreError when it fails
   */
  async runAlone(sql: string): Promise<void> {
    await this.#retryWhileBusy(() => this.#db.exec(sql))
  }

  /**
   * Opens a transaction, which the caller ends by `commit` or `rollback`. Everything else that uses the connection
   * meanwhile takes part in it, so it needs a separate connection.
   *
   * @throws StoreError when the database cannot be written
   */
  async begin(): Promise<void> {
    await this.#retryWhileBusy(() => this.#begin())
  }

  commit(): void {
    try {
      this.#commit()
    } catch (error) {
      throw toStoreError(error, this.#filename)
    }
  }

  rollback(): void {
    if (this.#db.open && this.#db.inTransaction) this.#db.exec('ROLLBACK')
    this.#onRollback()
  }

  #retry<Result>(action: () => Result): Promise<Result> {
    return this.#retryWhileBusy(() => this.#transact(action))
  }

  async #retryWhileBusy<Result>(attempt: () => Result): Promise<Result> {
    const deadline = this.#runtime.monotonicNow() + LOCK_WAIT_MS
    for (;;) {
      try {
        return attempt()
      } catch (error) {
        const mayRetry = isBusy(error) && this.#db.open && this.#runtime.monotonicNow() < deadline
        if (!mayRetry) throw toStoreError(error, this.#filename)
      }
      await sleep(this.#runtime, LOCK_RETRY_MS)
    }
  }

  #transact<Result>(action: () => Result): Result {
    this.#begin()
    try {
      const result = action()
      this.#commit()
      return result
    } catch (error) {
      this.rollback()
      throw error
    }
  }

  #begin(): void {
    if (!this.#db.open) throw new StoreError('STORE_CLOSED', 'The store is closed.')
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      this.#afterBegin()
    } catch (error) {
      this.rollback()
      throw error
    }
  }

  #commit(): void {
    this.#beforeCommit()
    this.#db.exec('COMMIT')
  }
}
