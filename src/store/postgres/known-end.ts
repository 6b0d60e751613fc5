import { StoreError } from '../../core/errors.ts'
import { baseAfterLoss, isReplacedLog } from '../backup/restored-base.ts'
import type { PostgresDatabase, Queries } from './database.ts'

/** More than the settings are ever changed in the time that a replica is behind. */
const EPOCH_GAP = 1000

/** An operation may have yielded its id to another one since. @see plan-writer.ts */
const FIND_OTHER = `SELECT FROM {operations}
  WHERE seq = $1 AND id NOT IN ($2::bytea, sha256($2::bytea || int8send(seq)))`

/** The last entry that is known; the id is null where nothing is stored under the number. */
interface LastEntry {
  readonly deliverySequence: number
  readonly operationId: Buffer | null
}

/**
 * How far this process knows the log to reach. A replica that has taken over may lack the newest commits: its
 * log ends before that, or holds what another server has written there since. Then it goes on above a gap, as
 * after a restore, because clients and servers hold positions in what is gone, and would take what is stored
 * under these numbers next for what they have.
 */
export class KnownEnd {
  readonly #db: PostgresDatabase
  readonly #onReplaced: () => Promise<unknown>
  readonly #listeners = new Set<() => void>()
  #last: LastEntry = { deliverySequence: 0, operationId: null }
  #lostConnections = 0
  #replacements = 0

  /** @param onReplaced called before anything is read of a log that has taken the place of the one that was known */
  constructor(db: PostgresDatabase, onReplaced: () => Promise<unknown>) {
    this.#db = db
    this.#onReplaced = onReplaced
  }

  get sequence(): number {
    return this.#last.deliverySequence
  }

  /** Of the database, when the log was last seen to hold what is known: the connections since may lead to another. */
  get lostConnections(): number {
    return this.#lostConnections
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
  note(last: LastEntry): void {
    if (last.deliverySequence > this.#last.deliverySequence) this.#last = last
  }

  /** @param read reads where the log ends */
  async follow<Row extends readonly [deliverySequence: number, operationId: Buffer | null, ...unknown[]]>(
    read: () => Promise<Row>,
  ): Promise<Row> {
    const before = this.#last
    let row = await read()
    const { lostConnections } = this.#db
    const isInDoubt = lostConnections !== this.#lostConnections
    // What was noted while this was read may be what is lost; otherwise it is newer, and no reason for doubt.
    const last = isInDoubt ? this.#last : before
    const known = last.deliverySequence
    if (!this.#db.isReadOnly && (row[0] < known || (isInDoubt && (await this.#isLost(last, row[0]))))) {
      await this.#continueAbove(last)
      row = await read()
      if (row[0] < known) {
        throw new StoreError(
          'STORE_UNAVAILABLE',
          `${this.#db.name}: its connections lead to different logs, as in the middle of a failover. It is tried again; if this stays, see that the address leads to one primary only.`,
        )
      }
    }
    this.#lostConnections = lostConnections
    if (isReplacedLog(this.sequence, row[0])) {
      this.#replacements++
      for (const listener of this.#listeners) listener()
    }
    this.note({ deliverySequence: row[0], operationId: row[1] })
    if (isReplacedLog(known, row[0])) await this.#onReplaced()
    return row
  }

  /** @param end of the log */
  async #isLost(last: LastEntry, end: number, queries: Queries = this.#db): Promise<boolean> {
    if (end < last.deliverySequence) return true
    if (isReplacedLog(last.deliverySequence, end)) return false // somebody has seen to it
    return (await queries.rows(FIND_OTHER, [last.deliverySequence, last.operationId])).length > 0
  }

  /** The epoch is raised above all that were lost, so that every server reads the settings anew. */
  async #continueAbove(last: LastEntry): Promise<void> {
    const base = baseAfterLoss(last.deliverySequence, this.#db.runtime.now())
    await this.#db.transaction(async (transaction) => {
      // Locked first: what somebody has written in the meantime is looked at too.
      const [row] = await transaction.rows<[number]>(
        'SELECT delivery_sequence FROM {counters} WHERE id = 1 FOR UPDATE',
      )
      if (row === undefined || !(await this.#isLost(last, row[0], transaction))) return
      await transaction.rows(
        `UPDATE {counters} SET delivery_sequence = $1, epoch = epoch + ${EPOCH_GAP} WHERE id = 1`,
        [base],
      )
    })
  }
}
