import { expect, test } from 'vitest'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-schema.ts'

test.each([
  ['table', 'CREATE TABLE todos AS SELECT 1 AS id', 'ALTER TABLE todos RENAME TO theirs'],
  ['view', 'CREATE VIEW todos AS SELECT 1 AS id', 'ALTER VIEW todos RENAME TO theirs'],
])('a %s of somebody else is refused by name, and left as it is', async (_kind, create, rename) => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  await database.query(create)
  const refusal = { code: 'SCHEMA_CHANGE_REFUSED', message: expect.stringContaining('a table "todos" that') }

  const planning = await createPostgresServerStore({ connectionString, readOnly: true })
  await expect(planning.planSchema(todoSchema)).rejects.toMatchObject(refusal)
  await planning.close()
  const store = await createPostgresServerStore({ connectionString })
  await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'ours', userId: 'u' })])
  await expect(store.planSchema(todoSchema)).rejects.toMatchObject(refusal)
  await expect(store.setSchema(todoSchema)).rejects.toMatchObject(refusal)
  expect(await database.query('SELECT * FROM todos')).toEqual([{ id: 1 }])

  await database.query(rename)
  await store.setSchema(todoSchema)
  expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'ours' })
  await store.close()
})

test('in a schema of its own there is nothing of others', async () => {
  await using database = await openTestDatabase()
  await database.query('CREATE TABLE todos (id int)')
  const store = await createPostgresServerStore({
    connectionString: database.connectionString,
    schema: 'kora',
  })

  await store.setSchema(todoSchema)

  expect(await database.query('SELECT * FROM todos')).toEqual([])
  await store.close()
})

test('a restore that brings a schema takes over no table of somebody else either', async () => {
  await using database = await openTestDatabase()
  await database.query('CREATE TABLE todos AS SELECT 1 AS id')
  const source = new MemoryServerStore({ nodeId: 'source' })
  await source.setSchema(todoSchema)
  const store = await createPostgresServerStore({ connectionString: database.connectionString })

  await expect(store.importBackup(await source.exportBackup())).rejects.toMatchObject({
    code: 'SCHEMA_CHANGE_REFUSED',
    message: expect.stringContaining('a table "todos" that'),
  })

  expect(await database.query('SELECT * FROM todos')).toEqual([{ id: 1 }])
  await store.close()
})
