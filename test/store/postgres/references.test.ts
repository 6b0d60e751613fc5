import pg from 'pg'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'

const tenant = { tenant: t.string() }
const schema = defineSchema({
  version: 1,
  collections: {
    projects: { fields: tenant, scope: ['tenant'] },
    todos: { fields: { ...tenant, projectId: t.string() }, scope: ['tenant'] },
  },
  relations: {
    project: { from: 'todos', to: 'projects', type: 'many-to-one', field: 'projectId', onDelete: 'cascade' },
  },
})

test('who refers to a record does not wait for those who change it', async () => {
  await using database = await openTestDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  await store.setSchema(schema)
  const author = new OperationAuthor('a')
  const [mine, foreign] = [{ tenant: 'b' }, { tenant: 'a' }]
  await appendAll(store, [
    author.insert('mine', mine, { collection: 'projects' }),
    author.insert('foreign', foreign, { collection: 'projects' }),
  ])
  const other = new pg.Client({ connectionString: database.connectionString })
  await other.connect()
  await other.query('BEGIN')
  expect((await other.query('SELECT FROM _kora_records FOR UPDATE')).rowCount).toBe(2)

  const todos = ['mine', 'foreign', 'of nobody'].map((projectId) =>
    author.insert(`todo of ${projectId}`, { ...mine, projectId }),
  )
  const writeScope = { projects: mine, todos: mine }
  expect(await appendAll(store, todos, { writeScope })).toEqual([
    'applied',
    'REFERENTIAL_INTEGRITY',
    'applied',
  ])

  await other.end()
  await store.close()
}, 60_000)
