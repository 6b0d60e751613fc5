import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { rulesFor, runCompaction } from '../../src/store/compaction/run-compaction.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { resolverSchema, withoutFunctions } from '../support/resolver-schema.ts'

const schema = resolverSchema()
const MISSING = {
  code: 'RESOLVER_MISSING',
  message: expect.stringMatching(
    /^The resolver of "todos\.title" is missing here: .* --schema or --config\.$/,
  ),
}

/** Changes of one title, of which each author has seen the one before. */
function retitled(author: OperationAuthor): Operation[] {
  return [
    author.insert('r', { title: 'a', note: '1' }),
    author.update('r', { title: 'b' }, { previousData: { title: 'a' } }),
    author.update('r', { note: '2' }, { previousData: { note: '1' } }),
    author.update('r', { title: 'c' }, { previousData: { title: 'b' } }),
    author.update('r', { note: '3' }, { previousData: { note: '2' } }),
  ]
}

/** One that has not seen the title which it replaces. */
function inConflict(author: OperationAuthor): Operation {
  return author.update('r', { title: 'd' }, { previousData: { title: 'a' } })
}

async function compact(store: ServerStore): Promise<number> {
  const rules = rulesFor({ keepForMs: 0, tombstonesMs: null }, Date.now())
  return (await runCompaction(store, rules, { runtime: systemRuntime() })).operations
}

async function sequencesIn(store: ServerStore): Promise<number[]> {
  return (await store.readLog(0, 100, 1e9)).entries.map(({ sequenceNumber }) => sequenceNumber)
}

describeEachStore('a store that lacks a resolver of its schema', (openStore) => {
  test('compacts as one that has it: what the resolver may need stays', async () => {
    await using store = await openStore({ schema: withoutFunctions(schema) })
    await using complete = await openStore({ schema })
    for (const each of [store, complete]) {
      const author = new OperationAuthor('a')
      await appendAll(each, [...retitled(author), author.update('r', { note: '4' })])
      await compact(each)
    }

    expect(await sequencesIn(store)).toEqual([1, 2, 3, 4, 6])
    expect(await sequencesIn(complete)).toEqual([1, 2, 3, 4, 6])
    // A device that was offline has seen neither "b" nor "c", and its clock lies between them.
    const [insert, first] = retitled(new OperationAuthor('a')) as [Operation, Operation]
    const late = new OperationAuthor('b', first.timestamp.wallTime).update(
      'r',
      { title: 'late' },
      { previousData: insert.data },
    )
    await store.setSchema(schema)
    for (const each of [store, complete]) await appendAll(each, [late])
    expect(await store.findRecord('todos', 'r')).toEqual(await complete.findRecord('todos', 'r'))
    expect(await store.findRecord('todos', 'r')).toMatchObject({ title: 'b c late' })
  })

  test('stores what does not need it, and nothing of a batch that does', async () => {
    await using store = await openStore({ schema: withoutFunctions(schema) })
    const author = new OperationAuthor('a')
    expect(await appendAll(store, retitled(author))).toEqual(Array(5).fill('applied'))
    const other = author.insert('s', { title: 'x' })

    await expect(appendAll(store, [other, inConflict(author)])).rejects.toMatchObject(MISSING)

    expect(await store.getOperationCount()).toBe(5)
    expect(await store.findRecord('todos', 'r')).toMatchObject({ title: 'c', note: '3' })
    await store.setSchema(schema)
    expect(await appendAll(store, [other, inConflict(author)])).toEqual(['applied', 'applied'])
    expect(await store.findRecord('todos', 'r')).toMatchObject({ title: 'c d' })
  })

  test('stores nothing that makes earlier operations need it', async () => {
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    const operations = [...retitled(author), inConflict(author)]
    await appendAll(store, operations)
    await store.setSchema(withoutFunctions(schema))
    const late = new OperationAuthor('b', 1_750_000_000_001).delete('r')

    await expect(appendAll(store, [late])).rejects.toMatchObject(MISSING)

    expect(await store.getOperationCount()).toBe(operations.length)
  })

  test('rebuilds nothing, and takes in no backup', async () => {
    await using source = await openStore({ schema })
    const author = new OperationAuthor('a')
    await appendAll(source, [...retitled(author), inConflict(author)])
    const backup = await source.exportBackup()
    await using store = await openStore({ schema: withoutFunctions(schema) })
    await appendAll(store, [new OperationAuthor('b').insert('s', { title: 'x' })])

    await expect(store.rebuildCollections()).rejects.toMatchObject(MISSING)
    for (const isMerge of [true, false]) {
      await expect(store.importBackup(backup, isMerge)).rejects.toMatchObject(MISSING)
    }

    expect(await store.queryCollection('todos')).toMatchObject([{ id: 's', title: 'x' }])
    expect(await store.getOperationCount()).toBe(1)
    await store.setSchema(schema)
    await store.importBackup(backup, true)
    expect(await store.findRecord('todos', 'r')).toMatchObject({ title: 'c d' })
  })

  test('says which field cannot be checked, and calls no record damaged for it', async () => {
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    await appendAll(store, [...retitled(author), inConflict(author)])
    const damage: unknown[] = []

    await store.findDamage?.({
      schema: withoutFunctions(schema),
      onDamage: (found) => damage.push(found),
    })

    const unchecked = { place: 'field todos.title', isCertain: false }
    expect(damage).toMatchObject(store.findDamage === undefined ? [] : [unchecked])
  })
})
