import { describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { describeEachStore, STORES } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'

const schema = defineSchema({
  version: 1,
  collections: { todos: { fields: { title: t.string().optional(), tags: t.array(t.string()).optional() } } },
})
/** Of 200 kB: 21 of them are loaded in one transaction. */
const TAGS = Array.from({ length: 200 }, (_, index) => `${index}`.padStart(4, '0').repeat(250))
const IDS = Array.from({ length: 30 }, (_, index) => `r${index}`)

/** Large records as they were inserted, or changed since. */
async function addRecords(store: ServerStore, author: OperationAuthor, isChanged: boolean): Promise<void> {
  await appendAll(
    store,
    IDS.map((id) => author.insert(id, { tags: TAGS })),
  )
  if (isChanged) await appendInParts(store, titled(author, 'a'))
}

function titled(author: OperationAuthor, title: string): Operation[] {
  return IDS.map((id) => author.update(id, { title }))
}

/** @returns how many of the operations each transaction has taken up */
async function appendInParts(store: ServerStore, operations: readonly Operation[]): Promise<number[]> {
  const counts: number[] = []
  for (let done = 0; done < operations.length; done += counts.at(-1) ?? 0) {
    const results = await store.append(operations.slice(done).map((operation) => requestOf(operation)))
    expect(results.map(({ status }) => status)).toEqual(results.map(() => 'applied'))
    counts.push(results.length)
  }
  return counts
}

const LOADING_STORES = STORES.filter(([driver]) => driver !== 'memory') // which has its records at hand

describe.each(LOADING_STORES)('a batch over large records (%s)', (_, openStore) => {
  test.each([
    ['as they were inserted', false],
    ['that were changed', true],
  ])('loads only so many of them in one transaction: %s', async (_, isChanged) => {
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    await addRecords(store, author, isChanged)
    const updates = titled(author, 'b')

    expect(await appendInParts(store, updates)).toEqual([21, 9])
    expect(await store.countCollection('todos', { title: 'b' })).toBe(IDS.length)
    const again = await store.append(updates.map((operation) => requestOf(operation)))
    expect(again).toEqual(Array(21).fill({ status: 'duplicate' }))
  })
})

describeEachStore('a batch over large records', (openStore) => {
  test('is taken up whole where it is the history of a backup', async () => {
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    await addRecords(store, author, true)
    const updates = titled(author, 'b')

    const results = await store.append(
      updates.map((operation) => ({ ...requestOf(operation), isHistory: true as const })),
    )

    expect(results).toHaveLength(IDS.length)
  })
})
