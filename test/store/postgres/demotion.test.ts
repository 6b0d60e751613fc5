import { expect, test } from 'vitest'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'

test('connections to a host that takes no writes any more are not tried one after the other', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const name = new URL(connectionString).pathname.slice(1)
  const store = await createPostgresServerStore({ connectionString, applicationName: 'demoted' })
  const author = new OperationAuthor('a')
  const insert = (id: string) => requestOf(author.insert(recordIdOf(id), { title: 'x', userId: 'u' }))
  await store.append([insert('one')])
  await database.query(`ALTER DATABASE "${name}" SET default_transaction_read_only = on`)
  await database.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'demoted'",
  )
  const connections = async (): Promise<number> => {
    const reads = Array.from({ length: 10 }, () => store.getMaxDeliverySequence())
    await Promise.all(reads).catch(() => {}) // of those that were ended
    const rows = await database.query("SELECT FROM pg_stat_activity WHERE application_name = 'demoted'")
    return rows.length
  }
  await expect.poll(connections).toBe(10)
  await database.query(
    `SET TRANSACTION READ WRITE; ALTER DATABASE "${name}" RESET default_transaction_read_only`,
  )

  const request = insert('two')
  await expect(store.append([request])).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
    message: expect.stringContaining('takes no writes'),
  })
  expect(await store.append([request])).toMatchObject([{ status: 'applied' }])
  await store.close()
}, 30_000)
