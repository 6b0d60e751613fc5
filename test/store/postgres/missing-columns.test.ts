import { describe, expect, test } from 'vitest'
import { createPostgresServerStore } from '../../../src/index.ts'
import type { Damage } from '../../../src/store/damage/damage.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-app.ts'

async function openFilled(database: TestDatabase): Promise<ServerStore & AsyncDisposable> {
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('phone')
  await appendAll(store, [
    author.insert('a', { title: 'of a', tags: ['x'], userId: 'ada' }),
    author.insert('b', { title: 'of b', tags: [], userId: 'bob' }),
    author.update('b', { title: 'new of b', tags: ['y'] }),
    author.delete('a'),
  ])
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() })
}

async function damageIn(store: ServerStore): Promise<readonly Damage[]> {
  const damage: Damage[] = []
  await store.findDamage?.({ onDamage: (found) => damage.push(found), schema: todoSchema })
  return damage.filter(({ isCertain }) => isCertain)
}

describe.each([
  {
    sql: 'DROP TABLE todos',
    problem: 'the database does not have it. `kora-server migrate --rebuild` makes it again',
  },
  {
    sql: 'ALTER TABLE todos DROP COLUMN title',
    problem: 'its column "title" is missing. `kora-server migrate --rebuild` makes it again',
  },
  {
    sql: 'ALTER TABLE todos DROP COLUMN tags, DROP COLUMN "userId"',
    problem: 'its columns "tags", "userId" are missing. `kora-server migrate --rebuild` makes them again',
  },
])('after $sql', ({ sql, problem }) => {
  test('the check says so once, and the rebuild makes again what is missing', async () => {
    await using database = await openTestDatabase()
    await using store = await openFilled(database)
    const before = await store.queryCollection('todos', { includeDeleted: true })
    await database.query(sql)

    expect(await damageIn(store)).toEqual([{ place: 'table todos', problem, isCertain: true }])
    await store.rebuildCollections()

    expect(await store.queryCollection('todos', { includeDeleted: true })).toEqual(before)
    expect(await damageIn(store)).toEqual([])
  })

  test('a write and a query say what to do', async () => {
    await using database = await openTestDatabase()
    await using store = await openFilled(database)
    await database.query(sql)

    const refused = {
      code: 'STORE_CORRUPT',
      message: expect.stringMatching(/a table is not as it was made \(.+ does not exist\)\. See/),
    }
    await expect(store.queryCollection('todos', { includeDeleted: true })).rejects.toMatchObject(refused)
    const author = new OperationAuthor('laptop')
    await expect(appendAll(store, [author.insert('c', { title: 'of c' })])).rejects.toMatchObject(refused)
  })
})

test.each(['id', '_deleted'])(
  'a table without its column %s is to be dropped before the rebuild, which makes it again',
  async (column) => {
    await using database = await openTestDatabase()
    await using store = await openFilled(database)
    await database.query(`ALTER TABLE todos DROP COLUMN ${column}`)

    const [damage] = await damageIn(store)
    expect(damage?.place).toBe('table todos')
    expect(damage?.problem).toContain(`its column "${column}" is missing`)
    await database.query(/(DROP TABLE \S+),/.exec(damage?.problem ?? '')?.[1] ?? '')
    await store.rebuildCollections()

    expect(await damageIn(store)).toEqual([])
    expect(await store.countCollection('todos')).toBe(1)
  },
)
