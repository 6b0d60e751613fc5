import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { rulesFor, runCompaction } from '../../../src/store/compaction/run-compaction.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-schema.ts'

test('a forgotten record takes no row out of a table that is not one of the schema', async () => {
  await using database = await openTestDatabase()
  await database.query(`CREATE TABLE users (id text PRIMARY KEY)`)
  await database.query(`CREATE TABLE invoices (id integer PRIMARY KEY)`)
  await database.query(`INSERT INTO users VALUES ('alice'), ('bob')`)
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  try {
    await store.setSchema(todoSchema)
    const author = new OperationAuthor('mallory')
    for (const collection of ['users', 'invoices', 'nowhere', '_kora_meta', '_kora_servers']) {
      await appendAll(store, [
        author.insert('alice', { name: 'a' }, { collection }),
        author.delete('alice', { collection }),
      ])
    }
    await appendAll(store, [author.insert('last', { title: 'x' })]) // the end of the log stays

    const rules = rulesFor({ keepForMs: null, tombstonesMs: 1000 }, Date.now())
    const summary = await runCompaction(store, rules, { runtime: systemRuntime() })

    expect(summary).toMatchObject({ operations: 10, tombstones: 5 })
    expect(await database.query('SELECT id FROM users ORDER BY id')).toEqual([{ id: 'alice' }, { id: 'bob' }])
  } finally {
    await store.close()
  }
})
