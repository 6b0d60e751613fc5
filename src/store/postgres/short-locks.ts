import type { PostgresDatabase, Transaction } from './database.ts'
import { isLockTimeout } from './postgres-errors.ts'

const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 10_000
const PAUSE_GROWTH = 1.5
/**
 * From 200 ms to 2 s: others are held up for at most a sixth of the time. The last waits exceed the time that the
 * database takes to end an autovacuum that is in the way (`deadlock_timeout`, 1 s).
 */
const WAIT_PER_PAUSE = 0.2
/**
 * How long a change of tables waits in all, as a multiple of the lock limit of one statement: ten minutes by
 * default.
 */
const MAX_LOCK_TIMES = 60

/** Runs an action that locks whole tables, as part of a transaction. */
export type WithShortLocks = (transaction: Transaction, action: () => Promise<void>) => Promise<void>

/**
 * Runs a transaction that locks whole tables exclusively, as `ALTER TABLE` does. While it waits for such a lock,
 * every later user of the table waits behind it, on all servers: so it soon gives up, and tries again after a pause
 * in which the others proceed.
 *
 * @param onWaiting called once, when another transaction holds a table
 * @param attempt runs the transaction; repeated after each failed attempt, so it must change nothing but the
 *   database
 * @throws StoreError `STORE_UNAVAILABLE` when a table stays locked for 60 times `lockTimeoutMs`
 */
export async function retryWithShortLocks<Result>(
  db: PostgresDatabase,
  onWaiting: () => void,
  attempt: (withShortLocks: WithShortLocks) => Promise<Result>,
): Promise<Result> {
  const longestWaitMs = db.lockTimeoutMs > 0 ? db.lockTimeoutMs : Number.POSITIVE_INFINITY
  const endsAt = db.runtime.monotonicNow() + MAX_LOCK_TIMES * longestWaitMs
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * PAUSE_GROWTH, LONGEST_PAUSE_MS)) {
    const waitMs = Math.min(pauseMs * WAIT_PER_PAUSE, longestWaitMs)
    try {
      return await attempt((transaction, action) => runWithin(transaction, waitMs, action))
    } catch (error) {
      if (!isLockTimeout(error) || db.runtime.monotonicNow() >= endsAt) throw error
    }
    if (pauseMs === FIRST_PAUSE_MS) onWaiting()
    await db.sleep(pauseMs)
  }
}

async function runWithin(
  transaction: Transaction,
  waitMs: number,
  action: () => Promise<void>,
): Promise<void> {
  await transaction.rows(`SET LOCAL lock_timeout = ${Math.round(waitMs)}`)
  await action()
  await transaction.rows('SET LOCAL lock_timeout TO DEFAULT')
}
