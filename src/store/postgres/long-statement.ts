import pg from 'pg'
import type { Timer } from '../../core/runtime.ts'
import type { PostgresDatabase } from './database.ts'
import { NO_SESSION_LIMITS } from './no-limits.ts'
import { toStoreError } from './postgres-errors.ts'

// A waiting statement would continue after its server has ended, and the next server would wait for it in turn.
const NOTICE_END = 'SET client_connection_check_interval = 5000'

/** A shorter wait need not be reported. */
const WAITING_LOOK_MS = 1000

/**
 * Runs a statement without a time limit and outside of a transaction: the creation of an index, which nothing waits
 * for. It waits for other transactions without a limit, even for their locks.
 *
 * @param onWaiting called once, when it waits for others
 * @throws StoreError when the database could not run it
 */
export async function runLongStatement(
  db: PostgresDatabase,
  text: string,
  onWaiting: () => void,
): Promise<void> {
  db.assertUsable()
  const client = new pg.Client({ ...db.clientConfig, query_timeout: 0 })
  client.on('error', () => {}) // the running statement fails with the same error
  let watch: Timer | undefined
  try {
    await client.connect()
    await client.query(`${NO_SESSION_LIMITS}; SET lock_timeout = 0`)
    await client.query(NOTICE_END).catch(() => {}) // not every system supports it
    watch = watchForWaiting(db, await backendOf(client), onWaiting)
    await client.query(text)
  } catch (error) {
    throw toStoreError(error, db.name)
  } finally {
    watch?.cancel()
    await client.end().catch(() => {})
  }
}

/** Watches over another connection, because a waiting session reports nothing. */
function watchForWaiting(db: PostgresDatabase, pid: number, onWaiting: () => void): Timer {
  let isCancelled = false
  let timer: Timer
  const look = async (): Promise<void> => {
    const isHeldUp = await isWaiting(db, pid).catch(() => false) // the next look asks again
    if (isCancelled) return
    if (isHeldUp) onWaiting()
    else schedule()
  }
  const schedule = (): void => {
    timer = db.runtime.setTimer(WAITING_LOOK_MS, () => void look())
  }
  schedule()
  return {
    cancel() {
      isCancelled = true
      timer.cancel()
    },
  }
}

async function isWaiting(db: PostgresDatabase, pid: number): Promise<boolean> {
  const [row] = await db.rows<[boolean]>("SELECT pg_blocking_pids($1::integer) <> '{}'::integer[]", [pid])
  return row?.[0] === true
}

async function backendOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  return rows[0]?.pid ?? 0
}
