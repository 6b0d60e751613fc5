import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'

const title = t.string()
const first = defineSchema({ version: 1, collections: { todos: { fields: { title } } } })
const second = defineSchema({
  version: 2,
  collections: { todos: { fields: { title, done: t.boolean().default(false) } } },
})

/** Whoever notes another schema owes a reference that there is none of, which is asked for at the commit. */
const REFUSE_COMMIT = `
  CREATE TABLE other (id INTEGER PRIMARY KEY);
  CREATE TABLE owed (id INTEGER REFERENCES other (id) DEFERRABLE INITIALLY DEFERRED);
  CREATE TRIGGER refuse_commit AFTER UPDATE ON _kora_meta WHEN new.key = 'schema_fingerprint'
    BEGIN INSERT INTO owed VALUES (1); END`

test('a change of the schema that cannot be committed says why, and leaves the earlier one in force', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  const author = new OperationAuthor('a')
  await store.setSchema(first)
  await appendAll(store, [author.insert('r1', { title: 'x' })])
  const other = new (loadSqliteDriver())(filename)
  other.exec(REFUSE_COMMIT)

  await expect(store.setSchema(second)).rejects.toMatchObject({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' })

  expect(store.getSchema()).toEqual(first)
  expect(await appendAll(store, [author.insert('r2', { title: 'y' })])).toEqual(['applied'])
  expect(await store.queryCollection('todos', { orderBy: 'id' })).toMatchObject([
    { id: 'r1', title: 'x' },
    { id: 'r2', title: 'y' },
  ])
  other.exec('DROP TRIGGER refuse_commit')
  other.close()
  await store.setSchema(second)
  expect(await store.findRecord('todos', 'r2')).toMatchObject({ title: 'y', done: false })
  await store.close()
})

test('so does a first schema, without which there were no tables', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  const other = new (loadSqliteDriver())(filename)
  other.exec(REFUSE_COMMIT.replace('AFTER UPDATE', 'AFTER INSERT'))

  await expect(store.setSchema(first)).rejects.toMatchObject({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' })

  expect(store.getSchema()).toBeNull()
  expect(await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])).toEqual(['applied'])
  other.exec('DROP TRIGGER refuse_commit')
  other.close()
  await store.setSchema(first)
  expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'x' })
  await store.close()
})
