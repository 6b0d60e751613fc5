import { expect, test } from 'vitest'
import type { Query } from '../../../src/cli/query/prepare-query.ts'
import { countRecords, readPages } from '../../../src/cli/query/read-records.ts'
import type { CollectionQueryOptions, ServerStore } from '../../../src/store/store.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const ids = Array.from({ length: 1500 }, (_, index) => `r${String(index).padStart(4, '0')}`)

function todosBy(options: CollectionQueryOptions, limit: number | null = null): Query {
  return { collection: 'todos', options, limit, columns: [], format: 'json', isRaw: false }
}

describeEachStore('records that are read page by page', (openStore) => {
  const author = new OperationAuthor('a')

  async function openTodos() {
    const store = await openStore({ schema: todoSchema })
    await appendAll(
      store,
      ids.map((id, index) => author.insert(id, { title: id, priority: index % 3, userId: 'u1' })),
    )
    return store
  }

  /** Ids as they are printed; two of those on the first page are deleted before the second is read. */
  async function readIds(store: ServerStore, query: Query): Promise<string[]> {
    const read: string[] = []
    for await (const page of readPages(store, query)) {
      if (read.length === 0)
        await appendAll(
          store,
          page.slice(3, 5).map(({ id }) => author.delete(id)),
        )
      read.push(...page.map(({ id }) => id))
    }
    return read
  }

  test.each<[Query, string[]]>([
    [todosBy({}), ids],
    [todosBy({ orderDirection: 'desc' }), ids.toReversed()],
    [todosBy({ orderBy: 'title', offset: 20 }, 1200), ids.slice(20, 1220)],
    [
      todosBy({ orderBy: 'priority', orderDirection: 'desc' }),
      [2, 1, 0].flatMap((priority) => ids.filter((_, index) => index % 3 === priority)),
    ],
  ])('are all there, though others are deleted meanwhile: %j', async (query, expected) => {
    await using store = await openTodos()

    expect(await readIds(store, query)).toEqual(expected)
  })

  test('are counted with the deleted ones', async () => {
    await using store = await openTodos()
    await appendAll(store, [author.delete('r0007')])

    const query = todosBy({ includeDeleted: true, orderBy: 'title', offset: 20 })

    expect(await countRecords(store, query)).toBe(ids.length)
  })
})
