import { afterEach, expect, test, vi } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { runLongStatement } from '../../../src/store/postgres/long-statement.ts'
import { sessionIsEnded, withSettings } from '../../support/ended-session.ts'
import { openTestDatabase } from '../../support/postgres.ts'

const onUnhandled = vi.fn()

afterEach(() => void process.off('unhandledRejection', onUnhandled))

test('a transaction whose connection ends before it has begun fails as a whole, whatever its action waits for', async () => {
  await using database = await openTestDatabase()
  const db = new PostgresDatabase({ connectionString: database.connectionString }, systemRuntime())
  process.on('unhandledRejection', onUnhandled)
  db.pool.on('acquire', (client) => void client.end())

  await expect(db.transaction(() => db.sleep(20), { beginsWithReads: true })).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
  })

  expect(onUnhandled).not.toHaveBeenCalled()
  await db.close()
})

test('a long transaction and a long statement outlive the transaction_timeout of role or database', async () => {
  await using database = await openTestDatabase()
  const connectionString = withSettings(database.connectionString, { transaction_timeout: '1000' })
  const db = new PostgresDatabase({ connectionString }, systemRuntime())

  const rows = await db.transaction(
    async (transaction) => {
      await sessionIsEnded(connectionString)
      return transaction.rows('SELECT 1')
    },
    { isLong: true },
  )

  expect(rows).toEqual([[1]])
  await runLongStatement(db, 'SELECT pg_sleep(1.5)', () => {})
  await db.close()
})

test('calls that wait for a connection are finished before the pool is closed', async () => {
  await using database = await openTestDatabase()
  const db = new PostgresDatabase(
    { connectionString: database.connectionString, poolSize: 2 },
    systemRuntime(),
  )
  const calls = Array.from({ length: 20 }, (_, i) =>
    i % 2 === 0 ? db.rows('SELECT 1') : db.transaction((transaction) => transaction.rows('SELECT 1')),
  )

  await db.close()

  expect(await Promise.all(calls)).toEqual(calls.map(() => [[1]]))
})

test('calls that get no connection while the pool is closed are told so when the time is up', async () => {
  await using database = await openTestDatabase()
  const db = new PostgresDatabase(
    { connectionString: database.connectionString, poolSize: 1 },
    systemRuntime(),
  )
  await db.rows('SELECT 1')
  const running = db.rows('SELECT pg_sleep(20)')
  const waiting = [db.rows('SELECT 1'), db.transaction((transaction) => transaction.rows('SELECT 1'))]
  const outcomes = Promise.allSettled([running, ...waiting])
  const startedAt = performance.now()

  await db.close()

  expect(await outcomes).toMatchObject([
    { reason: { code: 'STORE_UNAVAILABLE' } },
    { reason: { code: 'STORE_CLOSED' } },
    { reason: { code: 'STORE_CLOSED' } },
  ])
  expect(performance.now() - startedAt).toBeLessThan(4000) // as long as they wait for a connection elsewhere
})

/** Without the event loop: what comes meanwhile is read after the next statement was sent. */
function stall(delayMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs)
}

test.each([
  ['transaction_timeout', 'longer than transaction_timeout'],
  ['idle_in_transaction_session_timeout', 'heard nothing of this process'],
])('a transaction that is given up after %s is a loss of the connection', async (limit, reason) => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const db = new PostgresDatabase({ connectionString }, systemRuntime())
  const givenUp = { code: 'STORE_UNAVAILABLE', message: expect.stringContaining(reason) }

  const stalled = db.transaction(async (transaction) => {
    for (await transaction.rows(`SET LOCAL ${limit} = 50`); ; await transaction.rows('SELECT 1')) stall(200)
  })
  await expect(stalled).rejects.toMatchObject(givenUp)
  const waited = db.transaction(async (transaction) => {
    const [row] = await transaction.rows<[number]>('SELECT pg_backend_pid()')
    await transaction.rows(`SET LOCAL ${limit} = 50`)
    const isAlive = 'SELECT FROM pg_stat_activity WHERE pid = $1'
    await expect.poll(() => database.query(isAlive, [row?.[0]])).toEqual([])
    await transaction.rows('SELECT 1')
  })
  await expect(waited).rejects.toMatchObject(givenUp)

  expect(await db.rows('SELECT 1')).toEqual([[1]])
  await db.close()
})
