import { afterEach, expect, test, vi } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
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
