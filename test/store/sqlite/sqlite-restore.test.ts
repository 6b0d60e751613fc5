import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'

test('a restore does without the table of a removed collection that somebody has dropped', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  const [todos, notes] = [{ fields: { title: t.string() } }, { fields: { text: t.string() } }]
  await store.setSchema(defineSchema({ version: 1, collections: { todos, notes } }))
  await store.setSchema(defineSchema({ version: 2, collections: { todos } }))
  const somebody = new (loadSqliteDriver())(filename)
  somebody.exec('DROP TABLE notes')
  somebody.close()

  await store.importBackup(await store.exportBackup())

  expect(await store.countCollection('todos')).toBe(0)
  await store.close()
})
