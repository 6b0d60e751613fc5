import { createHash } from 'node:crypto'
import pg from 'pg'
import type { PostgresDatabase } from './database.ts'
import { NO_HOLD_LIMITS } from './no-limits.ts'
import { toStoreError } from './postgres-errors.ts'

const ASK_AGAIN_MS = 250

// The connection of a process that ends is closed by its machine. If the machine itself is gone, the database gets
// no notice: with this it asks after 10 s of silence, and gives up 15 s later. Its own default is hours.
const NOTICE_DEATH =
  "set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false)," +
  " set_config('tcp_keepalives_count', '3', false)"

// The locked work is done over other connections, and this one may be idle all the while.
const MAY_BE_IDLE = "set_config('idle_session_timeout', '0', false)"

/**
 * Runs the action while no other server of this database and schema runs one under the same name. The lock belongs
 * to a connection of its own, so that it ends with the process, whatever happens.
 *
 * @param onWaiting called once, when another server has the lock
 * @throws StoreError `STORE_CLOSED` when the store is closed before it has the lock, `STORE_UNAVAILABLE`
 */
export async function withAdvisoryLock<Result>(
  db: PostgresDatabase,
  { name, onWaiting }: { name: string; onWaiting: () => void },
  action: () => Promise<Result>,
): Promise<Result> {
  const candidates = new Map([[name, undefined]])
  return withFirstFreeLock(db, { candidates: () => candidates, onWaiting }, action)
}

/**
 * The same as `withAdvisoryLock` for the first candidate that no other server works on, with one connection for
 * all.
 *
 * @param candidates by the names of their locks; called again each time that all were tried
 */
export async function withFirstFreeLock<Candidate, Result>(
  db: PostgresDatabase,
  { candidates, onWaiting }: { candidates: () => ReadonlyMap<string, Candidate>; onWaiting: () => void },
  action: (candidate: Candidate) => Promise<Result>,
): Promise<Result> {
  db.assertUsable()
  const client = new pg.Client(db.clientConfig)
  client.on('error', () => {}) // the holder of the lock checks its own work; see schema-migration.ts
  let taken: { readonly candidate: Candidate } | null = null
  try {
    await connect(client)
    for (let isWaiting = false; ; isWaiting = true) {
      taken = await tryEach(client, db, candidates())
      if (taken !== null) break
      if (!isWaiting) onWaiting()
      await db.sleep(ASK_AGAIN_MS)
      db.assertUsable()
    }
  } catch (error) {
    await client.end().catch(() => {})
    throw toStoreError(error, db.name)
  }
  try {
    return await action(taken.candidate)
  } finally {
    await client.end().catch(() => {}) // the lock ends with it
  }
}

async function tryEach<Candidate>(
  client: pg.Client,
  { schema }: PostgresDatabase,
  candidates: ReadonlyMap<string, Candidate>,
): Promise<{ readonly candidate: Candidate } | null> {
  for (const [name, candidate] of candidates) {
    if (await tryLock(client, lockKey(schema, name))) return { candidate }
  }
  return null
}

/**
 * Runs the action unless another server is running one under the same name.
 *
 * @returns null when another one is
 */
export async function withAdvisoryLockIfFree<Result>(
  db: PostgresDatabase,
  name: string,
  action: () => Promise<Result>,
): Promise<Result | null> {
  const client = new pg.Client(db.clientConfig)
  client.on('error', () => {}) // two that compact at the same time take turns by the locks of their steps
  try {
    await connect(client)
    if (!(await tryLock(client, lockKey(db.schema, name)))) return null
    return await action()
  } catch (error) {
    throw toStoreError(error, db.name)
  } finally {
    await client.end().catch(() => {}) // the lock ends with it
  }
}

/**
 * Takes the lock in shared mode, once no server has it exclusively. It belongs to a transaction on a connection of
 * its own: a pooler keeps the two together, and time limits for idle sessions or transactions do not end it.
 *
 * @returns a function that releases it
 */
export async function shareAdvisoryLock(db: PostgresDatabase, name: string): Promise<() => Promise<void>> {
  const client = new pg.Client(db.clientConfig)
  client.on('error', () => {}) // the holder checks its own work; see create-backup.ts
  try {
    await connect(client)
    // READ COMMITTED keeps no snapshot between statements, which would keep dead rows alive.
    await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; ${NO_HOLD_LIMITS}`)
    await client.query('SELECT pg_advisory_xact_lock_shared($1::bigint)', [lockKey(db.schema, name)])
  } catch (error) {
    await client.end().catch(() => {})
    throw toStoreError(error, db.name)
  }
  return async () => {
    await client.query('COMMIT').catch(() => {}) // a lost connection has already released it
    await client.end().catch(() => {})
  }
}

async function connect(client: pg.Client): Promise<void> {
  await client.connect()
  await client.query(`SELECT ${NOTICE_DEATH}, ${MAY_BE_IDLE}`)
}

async function tryLock(client: pg.Client, key: string): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>(
    'SELECT pg_try_advisory_lock($1::bigint) AS locked',
    [key],
  )
  return rows[0]?.locked === true
}

/** The number of an advisory lock: all applications of a database share these numbers. */
export function lockKey(schema: string, name: string): string {
  return createHash('sha256').update(`kora-server:${schema}:${name}`).digest().readBigInt64BE().toString()
}
