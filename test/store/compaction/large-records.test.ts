import { describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import type { CompactionRules } from '../../../src/store/compaction/compaction.ts'
import { runCompaction } from '../../../src/store/compaction/run-compaction.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { STORES } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const MEGABYTE = 1024 * 1024
const ID = recordIdOf('large')
const SUPERSEDED: CompactionRules = { supersededBefore: Number.MAX_SAFE_INTEGER, deletedBefore: null }
const DELETED: CompactionRules = { supersededBefore: null, deletedBefore: Number.MAX_SAFE_INTEGER }

async function append(store: ServerStore, operations: readonly Operation[]): Promise<void> {
  for (const operation of operations) expect(await appendAll(store, [operation])).toEqual(['applied'])
}

/** An insert and so many edits, of so many bytes each. */
function editedRecord(author: OperationAuthor, id: string, edits: number, bytes: number): Operation[] {
  const operations = [author.insert(id, { title: 'new', userId: 'u1' })]
  for (let edit = 1; edit <= edits; edit++) {
    operations.push(author.update(id, { title: `${edit}`.padEnd(bytes, 'x') }))
  }
  return operations
}

async function damageOf(store: ServerStore): Promise<string[]> {
  const found: string[] = []
  await store.findDamage?.({
    onDamage: ({ place, problem, isCertain }) => void (isCertain && found.push(`${place}: ${problem}`)),
  })
  return found
}

// In memory, all is there at once anyway.
describe.each(STORES.filter(([driver]) => driver !== 'memory'))('large records (%s)', (_, openStore) => {
  test('are compacted a few in a step', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    for (let record = 0; record < 10; record++) {
      await append(store, editedRecord(author, recordIdOf(`r${record}`), 3, MEGABYTE))
    }
    await append(store, [author.insert(recordIdOf('last'), { title: 'last' })])

    const steps: number[] = []
    for (let after: number | null = 0; after !== null; ) {
      const step = await store.compactStep(after, SUPERSEDED)
      steps.push(step.records)
      after = step.after
    }

    expect(Math.max(...steps)).toBeLessThanOrEqual(3)
    expect(steps.reduce((sum, count) => sum + count)).toBe(11)
    expect(await store.countDropped()).toBe(20)
    expect(await damageOf(store)).toEqual([])
  })

  test('with large states are looked at a few in a step', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    for (let record = 0; record < 12; record++) {
      await append(store, editedRecord(author, recordIdOf(`r${record}`), 1, 2 * MEGABYTE))
    }

    const { records, after } = await store.compactStep(0, SUPERSEDED)

    expect(records).toBeLessThanOrEqual(5)
    expect(after).not.toBeNull()
  })

  test('are compacted from their beginning where they are too large for that, and further the next time', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await append(store, editedRecord(author, ID, 10, 3 * MEGABYTE))
    await append(store, [author.insert(recordIdOf('last'), { title: 'last' })])
    const before = await store.queryCollection('todos')
    const run = async () => (await runCompaction(store, SUPERSEDED, { runtime: systemRuntime() })).operations

    const first = await run()
    const second = await run()

    expect(first).toBeGreaterThan(3)
    expect(first + second).toBe(9)
    expect(await run()).toBe(0)
    expect(await store.queryCollection('todos')).toEqual(before)
    expect(await damageOf(store)).toEqual([])
  })

  test('are forgotten whole, whatever their size', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'userId', { isGranted: true })
    const author = new OperationAuthor('a')
    const operations = [...editedRecord(author, ID, 10, 3 * MEGABYTE), author.delete(ID)]
    await append(store, operations)
    await append(store, [author.insert(recordIdOf('last'), { title: 'last' })])
    const runtime = systemRuntime()

    const plan = await runCompaction(store, DELETED, { runtime, isPlan: true })
    const summary = await runCompaction(store, DELETED, { runtime })

    expect(plan).toEqual(summary)
    expect(summary).toMatchObject({ operations: 12, tombstones: 1 })
    expect(summary.bytes).toBeGreaterThan(30 * MEGABYTE)
    expect(await store.getOperationCount()).toBe(1)
    expect(await appendAll(store, operations)).toEqual(Array(12).fill('duplicate'))
    expect(await damageOf(store)).toEqual([])
  })

  test('stay where they are the end of the log', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await append(store, [...editedRecord(author, ID, 10, 3 * MEGABYTE), author.delete(ID)])

    const summary = await runCompaction(store, DELETED, { runtime: systemRuntime() })

    expect(summary).toMatchObject({ operations: 0, tombstones: 0 })
    expect(await store.getOperationCount()).toBe(12)
  })
})
