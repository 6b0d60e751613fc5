import { StoreError } from '../../core/errors.ts'
import { baseAfterLoss, isReplacedLog } from '../backup/restored-base.ts'
import { bigints, byteas } from './array-parameters.ts'
import type { PostgresDatabase, Queries, Transaction } from './database.ts'
import type { EndRow } from './log-end.ts'
import { metaTable } from './meta-table.ts'
import { NEXT_EPOCH } from './settings.ts'

/**
 * Number of commit ends that are remembered: some ten seconds of them under load, more than most replicas lag
 * behind.
 */
const MAX_ENDS = 4000

/** An operation may have lost its id to another one since. @see plan-writer.ts */
const FIND_OTHER = `SELECT FROM unnest($1::bigint[], $2::bytea[]) AS known (seq, id)
  JOIN {operations} o ON o.seq = known.seq
  WHERE o.id NOT IN (known.id, sha256(known.id || int8send(known.seq))) LIMIT 1`

/** Further work after the known log was replaced. */
export interface LogFollower {
  /**
   * Called with the epoch of the log that was found, before anything of it is read. If this fails, nothing is read,
   * and the next attempt tries again.
   */
  useSettingsOf(epoch: number): Promise<unknown>
  /** Called in the transaction that moves the numbering above the gap. */
  leaveServerNode(transaction: Transaction): Promise<void>
}

/** The last known entry; the id is null where nothing is stored under the number. */
interface LastEntry {
  readonly deliverySequence: number
  readonly operationId: Buffer | null
}

/**
 * How far this process knows the log to reach. A replica that has taken over may lack the newest commits: its log
 * ends earlier, or has entries of other servers in their place. Then the numbering continues above a gap, as after
 * a restore, because clients and servers hold positions in the lost part, and would mistake the next entries with
 * these numbers for those that they have. Where others may already have written there, the mistake is possible:
 * then it is noted that positions below the gap are doubtful, so that clients with such a position read everything
 * again.
 */
export class KnownEnd {
  readonly #db: PostgresDatabase
  readonly #follower: LogFollower
  readonly #listeners = new Set<() => void>()
  #last: LastEntry = { deliverySequence: 0, operationId: null }
  /** The ids of the last entries of commits, by delivery sequence, oldest first. */
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
   * The database's count of lost connections when the log was last seen to contain what is known: connections made
   * since then may lead to another log.
   */
  get lostConnections(): number {
    return this.#lostConnections
  }

  /** Counts how often the known log was replaced. */
  get replacements(): number {
    return this.#replacements
  }

  /** Calls back before anything is written to a replacing log. @returns a function that ends the subscription */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Reports that the known log was replaced. */
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
    // A copy, because a buffer from a pool would keep all of the pool's memory.
    this.#ends.set(deliverySequence, Buffer.alloc(operationId.length, operationId))
    if (this.#ends.size <= MAX_ENDS) return
    const [oldest] = this.#ends.keys()
    if (oldest !== undefined) this.#ends.delete(oldest)
  }

  /** @param read returns the end of the log */
  async follow<Row extends readonly [...EndRow, ...unknown[]]>(read: () => Promise<Row>): Promise<Row> {
    const before = this.#last
    let row = await read()
    const { lostConnections } = this.#db
    const isInDoubt = lostConnections !== this.#lostConnections
    // An end noted during the read may be part of what is lost. Without doubt about the connections it is simply
    // newer.
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
   * Notes the end of the log, and reports a replaced log before anything read together with it is used, because the
   * result of that may be stored.
   */
  take([deliverySequence, operationId, doubtfulThrough]: readonly [...EndRow, ...unknown[]]): void {
    this.#doubtfulThrough = Math.max(this.#doubtfulThrough, doubtfulThrough) // noted before listeners hear of the log
    if (isReplacedLog(this.sequence, deliverySequence)) {
      this.#ends.clear()
      this.announceReplacement()
    }
    this.note({ deliverySequence, operationId })
  }

  /** @param end of the log */
  async #isLost(last: LastEntry, end: number, queries: Queries = this.#db): Promise<boolean> {
    if (end < last.deliverySequence) return true
    if (isReplacedLog(last.deliverySequence, end)) return false // it was already moved above a gap
    return this.#holdsOthers(queries)
  }

  /** True when known entries were replaced by others. The end alone may look the same, because devices send again. */
  async #holdsOthers(queries: Queries): Promise<boolean> {
    const known = [bigints([...this.#ends.keys()]), byteas([...this.#ends.values()])]
    return (await queries.rows(FIND_OTHER, known)).length > 0
  }

  /** Continues above a gap, under a new epoch, so that batches planned on the lost log are planned again. */
  async #continueAbove(last: LastEntry): Promise<void> {
    const base = baseAfterLoss(last.deliverySequence, this.#db.runtime.now())
    await this.#db.transaction(async (transaction) => {
      // Locked first, so that anything written in the meantime is seen too.
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
      if (isKnown) return // nothing was written since
      await metaTable.set(transaction, 'doubtful_through', base - 1)
    })
  }
}
