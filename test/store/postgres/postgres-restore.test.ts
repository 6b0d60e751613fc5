import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { openTestDatabase } from '../../support/postgres.ts'

test('a restore does without the table of a removed collection that somebody has dropped', async () => {
  await using database = await openTestDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  const [todos, notes] = [{ fields: { title: t.string() } }, { fields: { text: t.string() } }]
  await store.setSchema(defineSchema({ version: 1, collections: { todos, notes } }))
  await store.setSchema(defineSchema({ version: 2, collections: { todos } }))
  await database.query('DROP TABLE notes')

  await store.importBackup(await store.exportBackup())

  expect(await store.countCollection('todos')).toBe(0)
  await store.close()
})
