import pg from 'pg'
import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { runLongStatement } from '../../../src/store/postgres/long-statement.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

/** Somebody else's transaction that a new index of `things` has to wait for, and who makes that index. */
async function holdUpAnIndex(database: TestDatabase) {
  const { connectionString } = database
  await database.query('CREATE TABLE things (name text)')
  const other = new pg.Client({ connectionString })
  other.on('error', () => {})
  await other.connect()
  await other.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class')
  const db = new PostgresDatabase({ connectionString, lockTimeoutMs: 100 }, systemRuntime())
  let making: Promise<void> | undefined
  await new Promise<void>((resolve, reject) => {
    making = runLongStatement(db, 'CREATE INDEX CONCURRENTLY things_name ON things (name)', resolve)
    making.catch(reject)
  })
  return { db, other, making }
}

test('the making of an index waits for older transactions as long as they last, and says so', async () => {
  await using database = await openTestDatabase()
  const { db, other, making } = await holdUpAnIndex(database)

  await other.query('COMMIT')
  await making

  const [index] = await database.query(
    "SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_name'::regclass",
  )
  expect(index).toEqual({ indisvalid: true })
  await other.end()
  await db.close()
})

test('the making of an index ends with its server, whatever it waits for', async () => {
  await using database = await openTestDatabase()
  const { db, other, making } = await holdUpAnIndex(database)

  await db.close()
  await expect(making).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })

  await expect
    .poll(() => database.query("SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'"), {
      timeout: 30_000,
    })
    .toEqual([])
  await other.end()
}, 60_000)
