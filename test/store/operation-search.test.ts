import { expect, test } from 'vitest'
import type { OperationFilter } from '../../src/store/operation-search.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

const BYTES = 1e9

/** Three operations of one node, two of another, and snapshots between them. */
async function fill(store: ServerStore): Promise<{ start: number }> {
  const [a, b] = [new OperationAuthor('a'), new OperationAuthor('b')]
  const first = a.insert('r1', { title: 'one', userId: 'u1' })
  await appendAll(store, [
    first,
    b.insert('r2', { title: 'two', userId: 'u2' }),
    a.update('r1', { userId: 'u2' }), // moves into another scope, which the server answers with snapshots
    b.update('r1', { title: 'uno' }),
    a.delete('r2'),
  ])
  return { start: first.timestamp.wallTime }
}

async function search(store: ServerStore, filter: OperationFilter, page = 100): Promise<string[]> {
  const found: string[] = []
  for (let after = 0; ; ) {
    const operations = await store.readOperations(filter, { after, limit: page, maxBytes: BYTES })
    const last = operations.at(-1)
    if (last === undefined) return found
    for (const { wireJson } of operations) {
      const { nodeId, type, recordId } = JSON.parse(wireJson)
      found.push(`${nodeId} ${type} ${recordId}`)
    }
    after = last.deliverySequence
  }
}

const ALL = ['a insert r1', 'b insert r2', 'a update r1', 'b update r1', 'a delete r2']

describeEachStore('the log for people', (openStore) => {
  test.each([1, 2, 100])('is read in delivery order, without snapshots, in pages of %i', async (page) => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store)

    expect(await search(store, {}, page)).toEqual(ALL)
    expect(await search(store, { nodeId: 'a' }, page)).toEqual([ALL[0], ALL[2], ALL[4]])
    expect(await search(store, { recordId: 'r1' }, page)).toEqual([ALL[0], ALL[2], ALL[3]])
    expect(await search(store, { collection: 'todos' }, page)).toEqual(ALL)
  })

  test('joins conditions, and finds nothing by names that nobody used', async () => {
    await using store = await openStore({ schema: todoSchema })
    const { start } = await fill(store)

    expect(await search(store, { collection: 'todos', recordId: 'r1', nodeId: 'b' })).toEqual([ALL[3]])
    expect(await search(store, { writtenFrom: start + 1 })).not.toContain(ALL[0])
    expect(await search(store, { writtenFrom: start })).toContain(ALL[0])
    expect(await search(store, { collection: 'projects', recordId: 'r1' })).toEqual([])
    expect(await search(store, { collection: 'nothing' })).toEqual([])
    expect(await search(store, { nodeId: 'nobody' })).toEqual([])
    expect(await search(store, { recordId: 'r3' })).toEqual([])
  })

  test('bounds pages by bytes, but never to nothing', async () => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store)

    const page = await store.readOperations({}, { after: 0, limit: 100, maxBytes: 1 })

    expect(page).toHaveLength(1)
  })

  test('can be read from its end', async () => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store)
    const tail = async (filter: OperationFilter, count: number): Promise<number> => {
      const after = await store.findOperationTail(filter, count)
      return (await store.readOperations(filter, { after, limit: 100, maxBytes: BYTES })).length
    }

    expect(await tail({}, 2)).toBe(2)
    expect(await tail({}, 50)).toBe(5)
    expect(await tail({ nodeId: 'b' }, 1)).toBe(1)
    expect(await tail({ recordId: 'r1' }, 2)).toBe(2)
    expect(await tail({}, 0)).toBe(0)
    expect(await store.findOperationTail({ nodeId: 'nobody' }, 3)).toBe(await store.getMaxDeliverySequence())
  })
})
