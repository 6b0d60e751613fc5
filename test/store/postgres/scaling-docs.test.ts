import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const SCALING = readFileSync(new URL('../../../docs/scaling.md', import.meta.url), 'utf8')
const PARTITION_END = 100_000_001

test('the SQL of docs/scaling.md runs, and the server goes on in a partitioned log', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const author = new OperationAuthor('a')
  const insert = (index: number) =>
    requestOf(author.insert(recordIdOf(`r${index}`), { title: `t${index}`, userId: 'u' }))
  const early = [insert(1), insert(2), insert(3)]
  const before = await createPostgresServerStore({ connectionString })
  await before.setSchema(todoSchema)
  await before.append(early)
  await before.close()

  const [look, partition] = sqlBlocks(SCALING)
  expect(await database.query(look ?? '')).toMatchObject([{ name: 'todos', count: '3' }])
  await database.query(partition ?? '')
  await using store = Object.assign(await createPostgresServerStore({ connectionString }), {
    [Symbol.asyncDispose]: () => store.close(),
  })
  await store.setSchema(todoSchema)

  const results = await store.append([...early, insert(4)])
  expect(results.map(({ status }) => status)).toEqual(['duplicate', 'duplicate', 'duplicate', 'applied'])
  await database.query('UPDATE _kora_counters SET delivery_sequence = $1', [PARTITION_END - 2])
  await store.append([insert(5), insert(6)]) // on both sides of the border
  const again = await store.append([early[0] ?? insert(7)])
  expect(again.map(({ status }) => status)).toEqual(['duplicate'])
  const page = await store.getOperationsAfterDelivery(0, 10)
  expect(page.map(({ deliverySequence }) => deliverySequence)).toEqual([
    1,
    2,
    3,
    4,
    PARTITION_END - 1,
    PARTITION_END,
  ])
  expect(await store.countCollection('todos')).toBe(6)
})

/** Without those for extensions that are not here. */
function sqlBlocks(text: string): string[] {
  return [...text.matchAll(/```sql\n(.*?)```/gs)]
    .map(([, sql]) => sql ?? '')
    .filter((sql) => !sql.includes('create_distributed_table'))
}
