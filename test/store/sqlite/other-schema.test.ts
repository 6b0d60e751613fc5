import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { createSqliteServerStore, type SqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { AppendRequest } from '../../../src/store/store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { joinWords, resolverSchema } from '../../support/resolver-schema.ts'

/** The processes of one file: a server, and what changes its schema. */
function openTwo() {
  const directory = temporaryDirectory()
  const open = (): SqliteServerStore =>
    createSqliteServerStore({ filename: join(directory.path, 'store.db'), durability: 'normal' })
  const stores = { server: open(), migration: open() }
  return {
    ...stores,
    open,
    async [Symbol.asyncDispose]() {
      for (const store of Object.values(stores)) await store.close()
      directory[Symbol.dispose]()
    },
  }
}

function counting(version: number, count: number, extra: { rank?: true } = {}): SchemaDefinition {
  return defineSchema({
    version,
    collections: {
      todos: {
        fields: {
          title: t.string(),
          count: t.number().default(count),
          ...(extra.rank && { rank: t.number().optional() }),
        },
      },
    },
  })
}

async function damageOf(store: SqliteServerStore, schema: SchemaDefinition): Promise<string[]> {
  const found: string[] = []
  await store.findDamage({ schema, onDamage: ({ place, problem }) => found.push(`${place}: ${problem}`) })
  return found
}

test('writes rows as another process has made the tables meanwhile', async () => {
  await using files = openTwo()
  const { server, migration, open } = files
  const [earlier, later] = [counting(1, 0), counting(2, 1, { rank: true })]
  await server.setSchema(earlier)
  const author = new OperationAuthor('a')
  await appendAll(server, [author.insert('before', { title: 'x' })])

  await migration.setSchema(later)
  await appendAll(server, [
    author.insert('after', { title: 'y', rank: 3 }),
    author.update('before', { title: 'z' }),
  ])

  expect(server.getSchema()?.version).toBe(1) // what its own clients are held to
  expect(await server.findRecord('todos', 'after')).not.toHaveProperty('rank')
  await server.close()
  const restarted = open()
  await restarted.setSchema(later)
  expect(await restarted.queryCollection('todos', { orderBy: 'id' })).toMatchObject([
    { id: 'after', title: 'y', count: 1, rank: 3 },
    { id: 'before', title: 'z', count: 1, rank: null },
  ])
  expect(await damageOf(restarted, later)).toEqual([])
  await restarted.close()
})

test('keeps to its schema where another process brings back an earlier one', async () => {
  await using files = openTwo()
  const { server, migration, open } = files
  const [earlier, later] = [counting(1, 0), counting(2, 0, { rank: true })]
  await server.setSchema(later)

  await migration.setSchema(earlier)
  const author = new OperationAuthor('a')
  await appendAll(server, [author.insert('r1', { title: 'x', rank: 3 })])

  expect(await server.findRecord('todos', 'r1')).toMatchObject({ title: 'x', rank: 3 })
  await server.close()
  const restarted = open()
  await restarted.setSchema(later)
  expect(await restarted.findRecord('todos', 'r1')).toMatchObject({ rank: 3 })
  expect(await damageOf(restarted, later)).toEqual([])
  await restarted.close()
})

test.each(['looks in between', 'does not look in between'])(
  'knows what devices of a later version have columns for that another process has taken back, where it %s',
  async (when) => {
    await using files = openTwo()
    const { server, migration } = files
    const [earlier, later] = [counting(1, 0, { rank: true }), counting(2, 0)]
    await server.setSchema(earlier)

    await migration.setSchema(later)
    if (when === 'looks in between') await server.getMaxDeliverySequence()
    await migration.setSchema(earlier)
    await server.getMaxDeliverySequence()

    const schema = server.getSchema()
    expect(schema).toEqual({ ...earlier, otherVersions: { 2: { todos: ['title', 'count'] } } })
    await appendAll(migration, [new OperationAuthor('a').insert('r1', { title: 'x', rank: 1 })])
    expect(await server.findRecord('todos', 'r1')).toMatchObject({ rank: 1 })
    expect(server.getSchema()).toBe(schema) // what is made of it is made once
  },
)

test('knows it also after a write that failed', async () => {
  await using files = openTwo()
  const { server, migration } = files
  await server.setSchema(counting(1, 0, { rank: true }))
  await migration.setSchema(counting(2, 0))

  const operation = new OperationAuthor('a').insert('r1', { title: 'x' })
  await expect(server.append([requestOf(operation), {} as AppendRequest])).rejects.toThrow()

  expect(server.getSchema()?.otherVersions).toEqual({ 2: { todos: ['title', 'count'] } })
  expect(await appendAll(server, [operation])).toEqual(['applied'])
  expect(await migration.findRecord('todos', 'r1')).toMatchObject({ title: 'x' })
})

test('writes the same tables while another process fills them', async () => {
  await using files = openTwo()
  const { server, migration } = files
  await server.setSchema(counting(1, 0))
  const author = new OperationAuthor('a')
  const insert = (index: number) => author.insert(`r${index}`, { title: `t${index}`, rank: index })
  await appendAll(
    server,
    Array.from({ length: 900 }, (_, index) => insert(index)),
  )

  let next = 900
  const written: Promise<unknown>[] = []
  await migration.setSchema(counting(2, 1, { rank: true }), {
    onProgress: () => {
      written.push(appendAll(server, [insert(next++), author.update('r899', { title: `edit ${next}` })]))
    },
  })
  await Promise.all(written)

  expect(written.length).toBeGreaterThan(3)
  const records = await migration.queryCollection('todos')
  expect(records.filter(({ count, rank }) => count === 1 && typeof rank === 'number')).toHaveLength(next)
  expect(await damageOf(migration, counting(2, 1, { rank: true }))).toEqual([])
})

test('learns of tables in a file that had none', async () => {
  await using files = openTwo()
  const { server, migration } = files
  const author = new OperationAuthor('a')
  await appendAll(server, [author.insert('r1', { title: 'x' })])

  await migration.setSchema(counting(1, 0))
  await appendAll(server, [author.insert('r2', { title: 'y' })])

  expect(await migration.queryCollection('todos')).toHaveLength(2)
})

test('keeps a resolver that has not changed, and stores nothing that needs one that has', async () => {
  await using files = openTwo()
  const { server, migration, open } = files
  const write = (author: OperationAuthor) => [
    author.insert('r', { title: 'a' }),
    author.update('r', { title: 'b' }, { previousData: { title: 'a' } }),
  ]
  const conflicting = (author: OperationAuthor, title: string) =>
    author.update('r', { title }, { previousData: { title: 'a' } })
  await server.setSchema(resolverSchema(joinWords, 1))
  const author = new OperationAuthor('a')
  await appendAll(server, write(author))

  await migration.setSchema(resolverSchema(joinWords, 2))
  expect(await appendAll(server, [conflicting(author, 'c')])).toEqual(['applied'])
  expect(await migration.findRecord('todos', 'r')).toMatchObject({ title: 'b c' })

  const changed = resolverSchema((local, remote) => `${String(remote)} before ${String(local)}`, 3)
  await migration.setSchema(changed)
  const refused = conflicting(author, 'd')
  await expect(appendAll(server, [refused])).rejects.toMatchObject({ code: 'RESOLVER_MISSING' })
  expect(await appendAll(server, [author.update('r', { note: 'kept' }, { previousData: {} })])).toEqual([
    'applied',
  ])

  await server.close()
  const restarted = open()
  await restarted.setSchema(changed)
  expect(await appendAll(restarted, [refused])).toEqual(['applied'])
  expect(await restarted.findRecord('todos', 'r')).toMatchObject({
    title: 'd before c before b',
    note: 'kept',
  })
  expect(await damageOf(restarted, changed)).toEqual([])
  await restarted.close()
})
