import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SchemaError } from '../../../src/core/errors.ts'
import type { GivenSchema } from '../../../src/core/schema/given-schema.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

test.each(['todos', 'Todos'])(
  'a table %s of somebody else is refused by name, and left as it is',
  async (name) => {
    using directory = temporaryDirectory()
    const filename = join(directory.path, 'app.db')
    const Database = loadSqliteDriver()
    const app = new Database(filename)
    app.exec(
      `CREATE TABLE ${name} (id TEXT PRIMARY KEY, title TEXT); INSERT INTO ${name} VALUES ('r1', 'theirs')`,
    )
    const store = createSqliteServerStore({ filename })
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'ours', userId: 'u' })])

    const refusal = {
      code: 'SCHEMA_CHANGE_REFUSED',
      message: expect.stringContaining('a table "todos" that'),
    }
    await expect(store.planSchema(todoSchema)).rejects.toMatchObject(refusal)
    await expect(store.setSchema(todoSchema)).rejects.toMatchObject(refusal)
    expect(app.prepare(`SELECT * FROM ${name}`).all()).toEqual([{ id: 'r1', title: 'theirs' }])

    app.exec(`ALTER TABLE ${name} RENAME TO their_todos`)
    await store.setSchema(todoSchema)
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'ours' })
    await store.close()
    app.close()
  },
)

test('a restore that brings a schema takes over no table of somebody else either', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'app.db')
  const source = new MemoryServerStore({ nodeId: 'source' })
  await source.setSchema(todoSchema)
  const app = new (loadSqliteDriver())(filename)
  app.exec("CREATE TABLE todos (id TEXT PRIMARY KEY); INSERT INTO todos VALUES ('theirs')")
  const store = createSqliteServerStore({ filename })

  await expect(store.importBackup(await source.exportBackup())).rejects.toMatchObject({
    code: 'SCHEMA_CHANGE_REFUSED',
    message: expect.stringContaining('a table "todos" that'),
  })

  expect(app.prepare('SELECT * FROM todos').all()).toEqual([{ id: 'theirs' }])
  await store.close()
  app.close()
})

test('a planned schema may be that of a store that has none, and is told what is wrong with it', () => {
  using directory = temporaryDirectory()
  const openWith = (plannedSchema: unknown) =>
    createSqliteServerStore({
      filename: join(directory.path, `${JSON.stringify(plannedSchema)}.db`),
      plannedSchema: plannedSchema as GivenSchema,
    })

  expect(() => openWith({})).toThrow(SchemaError)
  expect(openWith(null).getSchema()).toBeNull()
})
