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
  #sequence = 0

  /** @param onReplaced called before anything is read of a log that has taken the place of the one that was known */
  constructor(db: PostgresDatabase, onReplaced: () => Promise<unknown>) {
    this.#db = db
    this.#onReplaced = onReplaced
  }

  get sequence(): number {
    return this.#sequence
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
    if (isReplacedLog(known, row[0])) await this.#onReplaced()
    this.note(row[0])
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
