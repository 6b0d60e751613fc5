import { expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { createKoraServer, MemoryServerStore } from '../../src/index.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { openTestDatabase } from '../support/postgres.ts'

test('the status names every server of the database', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const stores = [
    await createPostgresServerStore({ connectionString }),
    await createPostgresServerStore({ connectionString }),
  ]
  const servers = stores.map((store) =>
    createKoraServer({ store, port: 0, host: '127.0.0.1', logger: silentLogger }),
  )
  for (const server of servers) await server.start()

  const listed = async () => (await servers[0]?.getStatus())?.servers ?? []
  await expect.poll(async () => (await listed()).length, { timeout: 10_000 }).toBe(2)
  expect((await listed()).filter(({ isThis }) => isThis)).toHaveLength(1)

  for (const server of servers) await server.stop()
  for (const store of stores) await store.close()
})

test('a store that only one server uses lists none', async () => {
  const store = new MemoryServerStore()
  const server = createKoraServer({ store, port: 0, host: '127.0.0.1', logger: silentLogger })

  expect(await server.getStatus()).not.toHaveProperty('servers')
  await store.close()
})
