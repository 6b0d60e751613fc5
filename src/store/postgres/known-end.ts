import { StoreError } from '../../core/errors.ts'
import { baseAfterLoss, isReplacedLog } from '../backup/restored-base.ts'
import type { PostgresDatabase } from './database.ts'

/** More than the settings are ever changed in the time that a replica is behind. */
const EPOCH_GAP = 1000

/**
 * How far this process knows the log to reach. A replica that has taken over may lack the newest commits: its
 * log ends before that. Then it goes on above a gap, as after a restore, because clients and servers hold
 * positions in what is gone, and would take what is stored under these numbers next for what they have.
 */
export class KnownEnd {
  readonly #db: PostgresDatabase
  readonly #onReplaced: () => Promise<unknown>
  readonly #listeners = new Set<() => void>()
  #sequence = 0
  #replacements = 0

  /** @param onReplaced called before anything is read of a log that has taken the place of the one that was known */
  constructor(db: PostgresDatabase, onReplaced: () => Promise<unknown>) {
    this.#db = db
    this.#onReplaced = onReplaced
  }

  get sequence(): number {
    return this.#sequence
  }

  /** Counts the logs that have taken the place of the one that was known. */
  get replacements(): number {
    return this.#replacements
  }

  /** Calls back before anything is written to a log that has taken the place of another. @returns a function that ends it */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Notes a commit of this process. */
  note(deliverySequence: number): void {
    this.#sequence = Math.max(this.#sequence, deliverySequence)
  }

  /** @param read reads where the log ends */
  async follow<Row extends readonly [deliverySequence: number, ...unknown[]]>(
    read: () => Promise<Row>,
  ): Promise<Row> {
    const known = this.#sequence
    let row = await read()
    if (row[0] < known && !this.#db.isReadOnly) {
      await this.#continueAbove(known)
      row = await read()
      if (row[0] < known) {
        throw new StoreError('STORE_UNAVAILABLE', `${this.#db.name}: its connections lead to different logs.`)
      }
    }
    if (isReplacedLog(this.#sequence, row[0])) {
      this.#replacements++
      for (const listener of this.#listeners) listener()
    }
    this.note(row[0])
    if (isReplacedLog(known, row[0])) await this.#onReplaced()
    return row
  }

  /** The epoch is raised above all that were lost, so that every server reads the settings anew. */
  async #continueAbove(known: number): Promise<void> {
    const base = baseAfterLoss(known, this.#db.runtime.now())
    await this.#db.transaction((transaction) =>
      transaction.rows(
        `UPDATE {counters} SET delivery_sequence = $1, epoch = epoch + ${EPOCH_GAP}
          WHERE id = 1 AND delivery_sequence < $2`,
        [base, known],
      ),
    )
  }
}
