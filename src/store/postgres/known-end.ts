import { StoreError } from '../../core/errors.ts'
import { baseAfterLoss, isReplacedLog } from '../backup/restored-base.ts'
import { bigints, byteas } from './array-parameters.ts'
import type { PostgresDatabase, Queries, Transaction } from './database.ts'
import type { EndRow } from './log-end.ts'
import { metaTable } from './meta-table.ts'
import { NEXT_EPOCH } from './settings.ts'

/** Ends of commits that are remembered: some ten seconds of them under load, more than most replicas are behind. */
const MAX_ENDS = 4000

/** An operation may have yielded its id to another one since. @see plan-writer.ts */
const FIND_OTHER = `SELECT FROM unnest($1::bigint[], $2::bytea[]) AS known (seq, id)
  JOIN {operations} o ON o.seq = known.seq
  WHERE o.id NOT IN (known.id, sha256(known.id || int8send(known.seq))) LIMIT 1`

/** What else is to be done about a log that is another one than was known. */
export interface LogFollower {
  /**
   * Called with the epoch of the log that was found, before anything is read of it: where it fails, nothing is, and
   * the next one tries again.
   */
  useSettingsOf(epoch: number): Promise<unknown>
  /** Called in the transaction that numbers what follows above the gap. */
  leaveServerNode(transaction: Transaction): Promise<void>
}

/** The last entry that is known; the id is null where nothing is stored under the number. */
interface LastEntry {
  readonly deliverySequence: number
  readonly operationId: Buffer | null
}

/**
 * How far this process knows the log to reach. A replica that has taken over may lack the newest commits: its
 * log ends before that, or holds what another server has written there since. Then it goes on above a gap, as
 * after a restore, because clients and servers hold positions in what is gone, and would take what is stored
 * under these numbers next for what they have. Where others may have written there already, this has happened:
 * it is noted that positions below the gap are in doubt, so that who holds one reads everything again.
 */
export class KnownEnd {
  readonly #db: PostgresDatabase
  readonly #follower: LogFollower
  readonly #listeners = new Set<() => void>()
  #last: LastEntry = { deliverySequence: 0, operationId: null }
  /** The ids that commits have ended with, by delivery sequence, oldest first. */
  readonly #ends = new Map<number, Buffer>()
  #doubtfulThrough = 0
  #lostConnections = 0
  #replacements = 0

  constructor(db: PostgresDatabase, follower: LogFollower) {
    this.#db = db
    this.#follower = follower
  }

  get sequence(): number {
    return this.#last.deliverySequence
  }

  /** @see ServerStore.doubtfulThrough */
  get doubtfulThrough(): number {
    return this.#doubtfulThrough
  }

  /**
   * Connections that the database had lost when the log was last seen to hold what is known: those made since
   * may lead to another log.
   */
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

  /** Tells of a log that is another one than was known. */
  announceReplacement(): void {
    this.#replacements++
    for (const listener of this.#listeners) listener()
  }

  /** Notes a commit of this process. */
  note(last: LastEntry): void {
    const { deliverySequence, operationId } = last
    if (deliverySequence <= this.#last.deliverySequence) return
    this.#last = last
    if (operationId === null) return
    // A copy: what comes from a pool would keep all of it.
    this.#ends.set(deliverySequence, Buffer.alloc(operationId.length, operationId))
    if (this.#ends.size <= MAX_ENDS) return
    const [oldest] = this.#ends.keys()
    if (oldest !== undefined) this.#ends.delete(oldest)
  }

  /** @param read reads where the log ends */
  async follow<Row extends readonly [...EndRow, ...unknown[]]>(read: () => Promise<Row>): Promise<Row> {
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
    this.take(row)
    await this.#follower.useSettingsOf(row[3])
    return row
  }

  /**
   * Takes in where the log ends, and tells of one that has taken the place of what was known: before anything that
   * was read with it is used, as what is made by that may be stored.
   */
  take([deliverySequence, operationId, doubtfulThrough]: readonly [...EndRow, ...unknown[]]): void {
    this.#doubtfulThrough = Math.max(this.#doubtfulThrough, doubtfulThrough) // known before anybody hears of the log
    if (isReplacedLog(this.sequence, deliverySequence)) {
      this.#ends.clear()
      this.announceReplacement()
    }
    this.note({ deliverySequence, operationId })
  }

  /** @param end of the log */
  async #isLost(last: LastEntry, end: number, queries: Queries = this.#db): Promise<boolean> {
    if (end < last.deliverySequence) return true
    if (isReplacedLog(last.deliverySequence, end)) return false // somebody has seen to it
    return this.#holdsOthers(queries)
  }

  /** Whether anybody has written in the place of what was known. The end alone may be what it was: devices send again. */
  async #holdsOthers(queries: Queries): Promise<boolean> {
    const known = [bigints([...this.#ends.keys()]), byteas([...this.#ends.values()])]
    return (await queries.rows(FIND_OTHER, known)).length > 0
  }

  /** The epoch is another one then: whoever has planned by the log as it was plans again. */
  async #continueAbove(last: LastEntry): Promise<void> {
    const base = baseAfterLoss(last.deliverySequence, this.#db.runtime.now())
    await this.#db.transaction(async (transaction) => {
      // Locked first: what somebody has written in the meantime is looked at too.
      const [row] = await transaction.rows<[number]>(
        'SELECT delivery_sequence FROM {counters} WHERE id = 1 FOR UPDATE',
      )
      if (row === undefined || !(await this.#isLost(last, row[0], transaction))) return
      await transaction.rows(
        `UPDATE {counters} SET delivery_sequence = $1, epoch = ${NEXT_EPOCH} WHERE id = 1`,
        [base],
      )
      await this.#follower.leaveServerNode(transaction)
      const isKnown = this.#ends.has(row[0]) && !(await this.#holdsOthers(transaction))
      if (isKnown) return // nobody has written since
      await metaTable.set(transaction, 'doubtful_through', base - 1)
    })
  }
}
