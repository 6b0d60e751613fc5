import { expect, test } from 'vitest'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { connectionStringOf, PostgresServer } from '../../support/postgres.ts'
import { Workspace } from '../../support/terminal.ts'
import { todoSchema } from '../../support/todo-schema.ts'

test('a replica is read from, refuses to be a server’s database, and is one once it is promoted', async () => {
  await using primary = await PostgresServer.start()
  await using database = await primary.openDatabase()
  const author = new OperationAuthor('a')
  const writer = await createPostgresServerStore({ connectionString: database.connectionString })
  await writer.setSchema(todoSchema)
  await writer.append([requestOf(author.insert(recordIdOf('one'), { title: 'before', userId: 'u' }))])
  await using standby = await primary.startStandby()
  const connectionString = connectionStringOf(standby.port, 'app')
  const workspace = new Workspace()

  await using reader = {
    store: await createPostgresServerStore({ connectionString, readOnly: true }),
    async [Symbol.asyncDispose]() {
      await this.store.close()
    },
  }
  expect(await reader.store.countCollection('todos')).toBe(1)
  await writer.append([requestOf(author.insert(recordIdOf('two'), { title: 'streamed', userId: 'u' }))])
  await expect.poll(() => reader.store.countCollection('todos'), { timeout: 20_000 }).toBe(2)
  expect((await reader.store.readLog(0, 10, 1_000_000)).entries).toHaveLength(2)
  await reader.store.checkHealth()
  const query = await workspace.run(['query', 'todos', '--db', connectionString])
  expect(query).toMatchObject({ code: 0, stdout: expect.stringContaining('streamed') })

  await expect(createPostgresServerStore({ connectionString })).rejects.toMatchObject({
    code: 'STORE_OPEN_FAILED',
    message: `Cannot open 127.0.0.1:${standby.port}/app: it is a read-only replica. Connect to the primary.`,
  })
  const start = await workspace.run(['start', '--db', connectionString, '--port', '0'])
  expect(start.code).toBe(1)
  expect(start.stderr).toContain('it is a read-only replica. Connect to the primary.')
  expect(start.stderr).not.toContain('p@ss')

  await writer.close()
  await primary.stop()
  await standby.promote()
  const successor = await createPostgresServerStore({ connectionString })
  await successor.setSchema(todoSchema)
  const [result] = await successor.append([
    requestOf(author.insert(recordIdOf('three'), { title: 'after', userId: 'u' })),
  ])
  expect(result).toMatchObject({ status: 'applied', entries: [{ deliverySequence: 3 }] })
  expect(await reader.store.countCollection('todos')).toBe(3)
  await successor.close()
}, 120_000)
