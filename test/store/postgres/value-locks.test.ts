import pg from 'pg'
import { expect, test } from 'vitest'
import { StoreCapacityError } from '../../../src/core/errors.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase, PostgresServer } from '../../support/postgres.ts'
import { teamSchema } from '../../support/team-schema.ts'

test('a deletion takes few locks, however many records and relations it concerns', async () => {
  const children = 2500
  const parent = { type: 'many-to-one', field: 'parentId', to: 'parents', onDelete: 'cascade' } as const
  const referring = ['notes', 'files', 'marks']
  const schema = defineSchema({
    version: 1,
    collections: {
      parents: { fields: { name: t.string() } },
      children: { fields: { parentId: t.string() } },
      ...Object.fromEntries(referring.map((name) => [name, { fields: { childId: t.string() } }])),
    },
    relations: {
      parent: { ...parent, from: 'children' },
      ...Object.fromEntries(
        referring.map((from) => [from, { ...parent, from, to: 'children', field: 'childId' }]),
      ),
    },
  })
  await using server = await PostgresServer.start(['fsync=off', 'max_connections=20'])
  await using database = await server.openDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  await store.setSchema(schema)
  const author = new OperationAuthor('a')
  await appendAll(store, [
    author.insert('p1', { name: 'x' }, { collection: 'parents' }),
    ...Array.from({ length: children }, (_, index) =>
      author.insert(`c${index}`, { parentId: 'p1' }, { collection: 'children' }),
    ),
    author.insert('n1', { childId: 'c7' }, { collection: 'notes' }),
  ])

  expect(await appendAll(store, [author.delete('p1', { collection: 'parents' })])).toEqual(['applied'])

  expect(await store.countCollection('children')).toBe(0)
  expect(await store.countCollection('notes')).toBe(0)
  await store.close()
}, 120_000)

test('of two servers only one has a value, also where the other asks for very many', async () => {
  await using database = await openTestDatabase()
  const open = async () => {
    const store = await createPostgresServerStore({ connectionString: database.connectionString })
    await store.setSchema(teamSchema)
    return store
  }
  const [first, second] = [await open(), await open()]
  const [many, few] = [new OperationAuthor('many'), new OperationAuthor('few')]
  const member = (author: OperationAuthor, round: number, index: number) =>
    author.insert(
      `${author.nodeId}-${round}-${index}`,
      { email: `${round}-${index}@x.test`, isActive: false },
      { collection: 'members' },
    )

  for (let round = 0; round < 8; round++) {
    const batch = Array.from({ length: 600 }, (_, index) => member(many, round, index))
    const [ofMany, ofFew] = await Promise.all([
      appendAll(first, batch),
      appendAll(second, [member(few, round, 300)]),
    ])
    expect([ofMany[300], ofFew[0]].sort()).toEqual(['CONSTRAINT_VIOLATION', 'applied'])
    expect(ofMany.filter((outcome) => outcome === 'applied').length).toBeGreaterThanOrEqual(599)
  }
  for (const store of [first, second]) await store.close()
}, 120_000)

test('a batch that the database has no room for is told from a database that is away', async () => {
  await using server = await PostgresServer.start(['fsync=off', 'max_connections=20'])
  await using database = await server.openDatabase()
  const { connectionString } = database
  const store = await createPostgresServerStore({ connectionString })
  await store.setSchema(teamSchema)
  const author = new OperationAuthor('a')
  const batch = Array.from({ length: 300 }, (_, index) =>
    author.insert(`m${index}`, { email: `${index}@x.test` }, { collection: 'members' }),
  )
  const other = new pg.Client({ connectionString })
  await other.connect()
  await expect(
    other.query('SELECT pg_advisory_lock(key) FROM generate_series(1, 100000) AS key'),
  ).rejects.toThrow('out of shared memory')

  await expect(appendAll(store, batch)).rejects.toThrow(StoreCapacityError)

  await other.end()
  await store.close()
}, 120_000)
