import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import {
  shareAdvisoryLock,
  withAdvisoryLock,
  withAdvisoryLockIfFree,
} from '../../../src/store/postgres/advisory-lock.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { sessionIsEnded, withSettings } from '../../support/ended-session.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

async function sharesIn(database: TestDatabase): Promise<number> {
  const locks = await database.query(
    `SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  )
  return locks.length
}

test.each(['transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout'])(
  'a lock that is shared outlives the %s of role or database',
  async (limit) => {
    await using database = await openTestDatabase()
    const connectionString = withSettings(database.connectionString, { [limit]: '300' })
    const db = new PostgresDatabase({ connectionString }, systemRuntime())

    const letGo = await shareAdvisoryLock(db, 'hold')
    await sessionIsEnded(connectionString, limit === 'idle_session_timeout' ? 'SELECT 1' : 'BEGIN')

    expect(await sharesIn(database)).toBe(1)
    await letGo()
    expect(await sharesIn(database)).toBe(0)
    await db.close()
  },
)

test('a lock is held as long as what it is for takes, whatever idle_session_timeout is set', async () => {
  await using database = await openTestDatabase()
  const connectionString = withSettings(database.connectionString, { idle_session_timeout: '300' })
  const [db, other] = [connectionString, database.connectionString].map(
    (each) => new PostgresDatabase({ connectionString: each }, systemRuntime()),
  ) as [PostgresDatabase, PostgresDatabase]

  const second = await withAdvisoryLock(db, { name: 'schema', onWaiting: () => {} }, async () => {
    await sessionIsEnded(connectionString, 'SELECT 1')
    return withAdvisoryLockIfFree(other, 'schema', async () => 'ran beside the first')
  })

  expect(second).toBeNull()
  await Promise.all([db, other].map((each) => each.close()))
})
