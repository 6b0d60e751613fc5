import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { fastRuntime } from '../../support/socket-client.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'

const author = new OperationAuthor('a')
const someRequest = () => requestOf(author.insert(author.nodeId, { title: 'x' }))

/** The way to the database, which can be made to swallow everything. */
async function openWay(connectionString: string): Promise<{ proxy: TcpProxy; connectionString: string }> {
  const url = new URL(connectionString)
  const proxy = await openTcpProxy([{ host: url.hostname, port: Number(url.port) }])
  url.port = String(proxy.port)
  return { proxy, connectionString: url.href }
}

test('where nothing comes back any more, who waits is told, who comes is told at once, until it answers', async () => {
  await using database = await openTestDatabase()
  const { proxy, connectionString } = await openWay(database.connectionString)
  await using _ = proxy
  const runtime = fastRuntime(20) // a silence of 4 s makes it look
  const store = await createPostgresServerStore({ connectionString, runtime, connectTimeoutMs: 300 })
  await store.append([someRequest()])

  proxy.isHalfOpen = true
  const refusal = { code: 'STORE_UNAVAILABLE' }
  await expect(store.append([someRequest()])).rejects.toMatchObject(refusal)
  const toldAt = performance.now()
  await expect(store.append([someRequest()])).rejects.toMatchObject(refusal)
  await expect(store.checkHealth()).rejects.toMatchObject(refusal)
  expect(performance.now() - toldAt).toBeLessThan(250) // without trying a connection each

  proxy.isHalfOpen = false
  await expect.poll(() => store.append([someRequest()]).then(() => 'stored', String)).toBe('stored')
  await store.close()
})

test('a statement that takes its time is left alone', async () => {
  await using database = await openTestDatabase()
  const db = new PostgresDatabase({ connectionString: database.connectionString }, fastRuntime(20))

  expect(await db.rows('SELECT 1 FROM pg_sleep(1)')).toEqual([[1]])
  await db.close()
})

test('a store is closed though nobody answers its goodbye', async () => {
  await using database = await openTestDatabase()
  const { proxy, connectionString } = await openWay(database.connectionString)
  await using _ = proxy
  const store = await createPostgresServerStore({ connectionString, runtime: fastRuntime(20) })
  await store.append([someRequest()])

  proxy.isHalfOpen = true
  const closedAt = performance.now()
  await store.close()

  expect(performance.now() - closedAt).toBeLessThan(5000)
})

test('a server that is cut off within a commit holds the others up for less than they wait', async () => {
  await using database = await openTestDatabase()
  const { proxy, connectionString } = await openWay(database.connectionString)
  await using _ = proxy
  const other = await createPostgresServerStore({ connectionString: database.connectionString })
  const cutOff = new PostgresDatabase({ connectionString }, systemRuntime())
  await new Promise<void>((resolve) => {
    const lost = cutOff.transaction(async (transaction) => {
      await transaction.rows('SELECT 1 FROM {counters} FOR UPDATE') // as every commit does
      proxy.isHalfOpen = true
      resolve()
      await new Promise(() => {})
    })
    lost.catch(() => {})
  })

  await expect(other.append([someRequest()])).resolves.toMatchObject([{ status: 'applied' }])
  await other.close()
  proxy.cut()
}, 30_000)
