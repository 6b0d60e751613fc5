import { expect, test } from 'vitest'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { matchesScope, type QuerySubset, type ScopeMap } from '../../../src/core/scope.ts'
import { createView } from '../../../src/core/view.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { DeviceDatabase } from '../../support/device/database.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const R1 = recordIdOf('r1')
const AT = 1_750_000_000_000
const UNREAD = 1500 // more than one step of a backfill takes

/** The clock of a node at a time, to be given to an operation. */
const at = (nodeId: string, wallTime: number) => ({
  timestamp: { wallTime: AT + wallTime, logical: 0, nodeId },
})

/** What a client with this scope and these queries on todos is sent, in its order. */
async function sentTo(
  store: ServerStore,
  scope: ScopeMap | null,
  queries: readonly FieldValues[] = [],
): Promise<Operation[]> {
  const view = createView(scope, queries.map(subsetOf))
  const sent: Operation[] = []
  for (let after = 0; ; ) {
    const page = await store.readDelivery({ after, view, limit: 1000, maxBytes: 1e9 })
    sent.push(...page.entries.map(({ wireJson }) => JSON.parse(wireJson) as Operation))
    if (page.isLast) return sent
    after = page.scannedTo
  }
}

function subsetOf(where: FieldValues): QuerySubset {
  return { collection: 'todos', where } as QuerySubset
}

/** The record on a device that has taken in what matches one of its filters, each operation seen with its row. */
function shownBy(filters: readonly FieldValues[], sent: readonly Operation[]): FieldValues | undefined {
  const device = new DeviceDatabase({
    nodeId: 'reader',
    now: () => AT + 1e6,
    schema: todoSchema,
    schemaVersion: 1,
  })
  for (const operation of sent) {
    const seen = {
      ...device.row('todos', operation.recordId)?.values,
      ...operation.previousData,
      ...operation.data,
    }
    if (filters.some((where) => matchesScope(seen, 'todos', { todos: where }))) device.receive(operation)
  }
  return device.row('todos', R1)?.values
}

/** A record among others, which are indexed first. */
async function storeAmongOthers(store: ServerStore, operations: readonly Operation[]): Promise<void> {
  const other = new OperationAuthor('other')
  const others = Array.from({ length: UNREAD }, (_, index) =>
    other.insert(recordIdOf(`other ${index}`), { title: 'x', userId: 'u9', done: false }),
  )
  await appendAll(store, others)
  await appendAll(store, operations)
}

/** Tracks a field, and stores operations once some of the records are indexed by it, where a store takes them then. */
async function trackBeside(
  store: ServerStore,
  field: string,
  operations: readonly Operation[],
): Promise<void> {
  let stored: Promise<unknown> | null = null
  await store.trackScopeField('todos', field, {
    isGranted: true,
    onProgress: () => {
      stored ??= appendAll(store, operations)
    },
  })
  await stored
}

describeEachStore('a record that is indexed by a field late', (openStore) => {
  test('comes to where it has moved although a change that loses is stored meanwhile', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    await storeAmongOthers(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: true }, at('q', 0)),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
    ])
    const previousData = { done: true, title: 't' }

    await trackBeside(store, 'done', [
      p.update(R1, { done: true, title: 'late' }, { previousData, ...at('p', 20) }),
    ])

    const sent = await sentTo(store, null, [{ done: false }])
    expect(shownBy([{ done: false }], sent)).toMatchObject({ title: 'late', userId: 'u1', done: false })
  })

  test('comes once to where it moves meanwhile', async () => {
    await using store = await openStore({ schema: todoSchema })
    const q = new OperationAuthor('q')
    await storeAmongOthers(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { done: true }, { previousData: { done: false }, ...at('q', 10) }),
    ])

    await trackBeside(store, 'done', [
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
      q.update(R1, { title: 'b' }, { previousData: { title: 't' }, ...at('q', 31) }),
    ])

    const sent = await sentTo(store, null, [{ done: false }])
    const inserts = sent.filter(({ recordId, type }) => recordId === R1 && type === 'insert')
    expect(inserts.map(({ data }) => data?.title)).toEqual(['t', 't'])
    expect(shownBy([{ done: false }], sent)).toMatchObject({ title: 'b', userId: 'u1', done: false })
  })

  test('is whole in a view that shows it by another field, although it moves meanwhile', async () => {
    await using store = await openStore({ schema: todoSchema })
    const q = new OperationAuthor('q')
    await storeAmongOthers(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 1) }),
      q.update(R1, { title: 'b', done: true }, { previousData: { title: 't', done: false }, ...at('q', 2) }),
      q.update(R1, { userId: 'u1' }, { previousData: { userId: 'u2' }, ...at('q', 3) }),
    ])
    const filters = [{ done: true }, { userId: 'u1' }]

    await trackBeside(store, 'done', [
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 4) }),
    ])

    const sent = await sentTo(store, null, filters)
    expect(shownBy(filters, sent)).toMatchObject({ title: 'b', userId: 'u1', done: false })
  })

  test('is whole in a view that shows it by another field, too, which has moved it', async () => {
    await using store = await openStore({ schema: todoSchema })
    const q = new OperationAuthor('q')
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 1) }),
      q.update(R1, { title: 'b', done: true }, { previousData: { title: 't', done: false }, ...at('q', 2) }),
      q.update(R1, { userId: 'u1' }, { previousData: { userId: 'u2' }, ...at('q', 3) }),
    ])
    await store.trackScopeField('todos', 'done')
    const filters = [{ done: true }, { userId: 'u1' }]

    const sent = await sentTo(store, null, filters)

    expect(shownBy(filters, sent)).toMatchObject({ title: 'b', userId: 'u1', done: true })
  })

  test('is whole where it shows by that other field alone', async () => {
    await using store = await openStore({ schema: todoSchema })
    const q = new OperationAuthor('q')
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 1) }),
      q.update(R1, { title: 'b', done: true }, { previousData: { title: 't', done: false }, ...at('q', 2) }),
      q.update(R1, { userId: 'u1' }, { previousData: { userId: 'u2' }, ...at('q', 3) }),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 4) }),
    ])
    await store.trackScopeField('todos', 'done')
    const filters = [{ done: true }, { userId: 'u1' }]

    const sent = await sentTo(store, null, filters)

    expect(shownBy(filters, sent)).toMatchObject({ title: 'b', userId: 'u1', done: false })
  })

  test('comes to a view that it was in by an earlier value only', async () => {
    await using store = await openStore({ schema: todoSchema })
    const q = new OperationAuthor('q')
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', priority: 1 }, at('q', 0)),
      q.update(R1, { priority: 2 }, { previousData: { priority: 1 }, ...at('q', 1) }),
      q.update(R1, { priority: 3 }, { previousData: { priority: 2 }, ...at('q', 2) }),
    ])
    await store.trackScopeField('todos', 'priority')
    const filters = [{ priority: 2 }, { priority: 3 }]

    const sent = await sentTo(store, null, filters)

    expect(shownBy(filters, sent)).toMatchObject({ title: 't', userId: 'u1', priority: 3 })
  })

  test('is inserted no second time where it was all along', async () => {
    await using store = await openStore({ schema: todoSchema })
    const q = new OperationAuthor('q')
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false, priority: 1 }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 1) }),
      q.update(R1, { done: true }, { previousData: { done: false }, ...at('q', 2) }),
      q.update(R1, { userId: 'u1' }, { previousData: { userId: 'u2' }, ...at('q', 3) }),
      q.update(R1, { title: 'b' }, { previousData: { title: 't' }, ...at('q', 4) }),
    ])
    const views = [
      [{ userId: 'u1' }],
      [{ userId: 'u1' }, { userId: 'u2' }],
      [{ done: true }, { done: false }],
    ]
    const insertsSent = async (filters: readonly FieldValues[]) =>
      (await sentTo(store, null, filters)).filter(({ type }) => type === 'insert').map(({ id }) => id)
    const [some, all] = [await insertsSent([{ userId: 'u1' }]), await insertsSent([])]

    await store.trackScopeField('todos', 'done')

    expect(await Promise.all(views.map(insertsSent))).toEqual([some, all, all])
  })

  test('tells those who gain it by the field nothing of what it was before', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const previousData = { userId: 'u1', done: false, title: 'secret' }
    await appendAll(store, [
      q.insert(R1, { title: 'secret', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 30) }),
      p.update(R1, { userId: 'u3', done: true, title: 'new' }, { previousData, ...at('p', 20) }),
    ])
    await store.trackScopeField('todos', 'done', { isGranted: true })
    const where = { userId: 'u2', done: true }

    const gained = await sentTo(store, { todos: where })
    const kept = await sentTo(store, { todos: { userId: 'u2' } })

    expect(JSON.stringify(gained)).not.toContain('secret')
    expect(shownBy([where], gained)).toMatchObject({ title: 'new', ...where })
    expect(shownBy([{ userId: 'u2' }], kept)).toMatchObject({ title: 'new', ...where })
  })

  test('brings what a change brought that lost in the field, to a device that dropped it and to a new one', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false, tags: ['a', 'b'] }, at('q', 0)),
      q.update(R1, { done: false }, { previousData: { done: false }, ...at('q', 30) }),
      p.update(
        R1,
        { done: true, title: 'late', tags: ['b', 'c'] },
        { previousData: { done: false, title: 't', tags: ['a', 'b'] }, ...at('p', 20) },
      ),
    ])
    const [isDone, isOpen] = [{ done: true }, { done: false }]
    const before = await sentTo(store, { todos: { userId: 'u1' } })

    await store.trackScopeField('todos', 'done')

    const sent = await sentTo(store, { todos: { userId: 'u1' } }, [isOpen])
    const expected = { title: 'late', userId: 'u1', done: false, tags: ['b', 'c'] }
    expect(shownBy([isOpen], sent)).toMatchObject(expected)
    expect(shownBy([isOpen], [...before, ...sent])).toMatchObject(expected)
    expect(await sentTo(store, { todos: { userId: 'u2' } }, [isOpen])).toEqual([])
    expect(await sentTo(store, { todos: { userId: 'u1' } }, [isDone])).not.toContainEqual(
      expect.objectContaining({ type: 'update', nodeId: store.getNodeId() }),
    )
  })

  test('brings it to a query by two fields, too, that are indexed at the same time', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const previousData = { done: false, title: 'before' }
    await appendAll(store, [
      q.insert(R1, { title: 'before', userId: 'u1', done: false, priority: 1, dueAt: 1 }, at('q', 0)),
      q.update(R1, { done: false }, { previousData: { done: false }, ...at('q', 30) }),
      p.update(R1, { done: true, title: 'late' }, { previousData, ...at('p', 20) }),
      q.update(R1, { priority: 2 }, { previousData: { priority: 1 }, ...at('q', 31) }),
    ])
    const fields = ['done', 'priority', 'dueAt']

    await Promise.all(fields.map((field) => store.trackScopeField('todos', field)))

    const [kept, gained] = [
      { done: false, dueAt: 1 },
      { done: false, priority: 2 },
    ]
    expect(shownBy([kept], await sentTo(store, null, [kept]))).toMatchObject({ title: 'late', ...kept })
    const sent = await sentTo(store, { todos: gained })
    expect(shownBy([gained], sent)).toMatchObject({ title: 'late', ...gained })
    expect(JSON.stringify(sent)).not.toContain('before')
  })

  test.each([
    ['by a field that is tracked', { userId: 'u2' }],
    ['by one that is tracked later still', { priority: 2 }],
  ])('tells those who gained it since, %s, nothing of what a losing change replaced', async (_, moved) => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const before = { title: 'secret', userId: 'u1', done: false, priority: 1 }
    await appendAll(store, [
      q.insert(R1, before, at('q', 0)),
      q.update(R1, { done: false }, { previousData: { done: false }, ...at('q', 30) }),
      p.update(
        R1,
        { done: true, title: 'new' },
        { previousData: { done: false, title: 'secret' }, ...at('p', 20) },
      ),
      q.update(R1, moved, at('q', 31)),
      q.update(R1, { dueAt: 1 }, at('q', 32)),
    ])
    await store.trackScopeField('todos', 'done')
    await store.trackScopeField('todos', 'priority')
    const where = { ...moved, done: false }

    const gained = await sentTo(store, { todos: where })

    expect(JSON.stringify(gained)).not.toContain('secret')
    expect(shownBy([where], gained)).toMatchObject({ title: 'new', ...where })
    expect(shownBy([{ done: false }], await sentTo(store, null, [{ done: false }]))).toMatchObject({
      ...before,
      ...where,
      title: 'new',
    })
  })

  test('brings what a losing change brought to those who see it by the field all along', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const previousData = { userId: 'u1', title: 't' }
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: true }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 30) }),
      p.update(R1, { userId: 'u3', title: 'new' }, { previousData, ...at('p', 20) }),
    ])
    await store.trackScopeField('todos', 'done', { isGranted: true })
    const where = { userId: 'u2', done: true }

    const sent = await sentTo(store, { todos: where })

    expect(shownBy([where], sent)).toMatchObject({ title: 'new', ...where })
  })
})
