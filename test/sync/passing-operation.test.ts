import { expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import type { FieldValues, JsonValue, Operation } from '../../src/core/operation.ts'
import { replayRecord } from '../../src/core/record/fold.ts'
import { matchesScope, type QuerySubset, type ScopeMap } from '../../src/core/scope.ts'
import { createView } from '../../src/core/view.ts'
import { createProductionServer } from '../../src/http/production-server.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { passingWireJson } from '../../src/sync/passing-operation.ts'
import { openDevice } from '../support/device.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

const R1 = recordIdOf('r1')
const AT = 1_750_000_000_000
const definition = todoSchema.collections.todos ?? null

/** The clock of a node at a time, to be given to an operation. */
const at = (nodeId: string, wallTime: number) => ({
  timestamp: { wallTime: AT + wallTime, logical: 0, nodeId },
})

/** What a client with this scope and these queries is sent, in its order. */
async function sentTo(
  store: ServerStore,
  scope: ScopeMap | null,
  queries: readonly QuerySubset[] = [],
): Promise<Operation[]> {
  const view = createView(scope, queries)
  const { entries } = await store.readDelivery({ after: 0, view, limit: 1000, maxBytes: 1e9 })
  return entries.map((entry) => JSON.parse(passingWireJson(entry, view)) as Operation)
}

/** The record as it is with a client that drops what does not match where, seen with its row. */
function keptBy(where: FieldValues, sent: readonly Operation[]): FieldValues | undefined {
  const kept: Operation[] = []
  for (const operation of sent) {
    const row = replayRecord(kept, definition)?.values
    const seen = { ...row, ...operation.previousData, ...operation.data }
    if (matchesScope(seen, 'todos', { todos: where })) kept.push(operation)
  }
  const state = replayRecord(kept, definition)
  return state === null || state.isDeleted ? undefined : state.values
}

describeEachStore('a change of a field that clients filter by, and which loses', (openStore) => {
  test('keeps what else it changes, and does not tell its value', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const late = p.update(
      R1,
      { userId: 'u3', title: 'late', tags: ['x'] },
      { previousData: { userId: 'u1', title: 't', tags: [] }, ...at('p', 20) },
    )
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', tags: [] }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 30) }),
      late,
    ])

    const sent = await sentTo(store, { todos: { userId: 'u2' } })

    expect(sent.at(-1)).toEqual({
      ...late,
      data: { title: 'late', tags: ['x'] },
      previousData: { title: 't', tags: [], userId: 'u2' },
    })
    expect(keptBy({ userId: 'u2' }, sent)).toMatchObject({ title: 'late', userId: 'u2' })
    expect((await sentTo(store, null)).at(-1)).toEqual(late)
  })

  test('keeps it where a query filters by the field, and is whole where none does', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'done')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const late = p.update(
      R1,
      { done: true, title: 'late' },
      { previousData: { done: false, title: 't' }, ...at('p', 20) },
    )
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { done: true }, { previousData: { done: false }, ...at('q', 10) }),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
      late,
    ])

    const sent = await sentTo(store, null, [{ collection: 'todos', where: { done: false } }])

    expect(keptBy({ done: false }, sent)).toMatchObject({ title: 'late', done: false })
    expect((await sentTo(store, { todos: { userId: 'u1' } })).at(-1)).toEqual(late)
  })

  test('keeps it where an atomic operation has composed to another value', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'priority')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const max = (value: JsonValue) => ({ atomicOps: { priority: { type: 'max', value } } as const })
    const update = (author: OperationAuthor, data: FieldValues, time: number, value: number) =>
      author.update(R1, data, { previousData: { priority: 2 }, ...at(author.nodeId, time), ...max(value) })
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', priority: 2 }, at('q', 0)),
      update(q, { priority: 10 }, 10, 10),
      update(p, { priority: 7, title: 'late' }, 20, 7),
    ])

    const sent = await sentTo(store, null, [{ collection: 'todos', where: { priority: 10 } }])

    expect(keptBy({ priority: 10 }, sent)).toMatchObject({ title: 'late', priority: 10 })
    expect(sent.at(-1)).not.toHaveProperty('atomicOps')
  })

  test('keeps a second insert and a deletion, of which old values are named', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'done')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const where = { done: false }
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
      p.insert(R1, { title: 'again', userId: 'u1', done: true }, at('p', 20)),
    ])

    const inserted = await sentTo(store, null, [{ collection: 'todos', where }])
    await appendAll(store, [q.delete(R1, { previousData: { done: true, title: 't' }, ...at('q', 40) })])
    const deleted = await sentTo(store, null, [{ collection: 'todos', where }])

    expect(keptBy(where, inserted)).toMatchObject({ title: 'again', userId: 'u1', done: false })
    expect(keptBy(where, deleted)).toBeUndefined()
  })

  test('is told alike where the field is one of filters only later', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
      p.update(R1, { done: true, title: 'late' }, { previousData: { done: false }, ...at('p', 20) }),
    ])

    await store.trackScopeField('todos', 'done')

    const sent = await sentTo(store, null, [{ collection: 'todos', where: { done: false } }])
    expect(keptBy({ done: false }, sent)).toMatchObject({ title: 'late', done: false })
  })

  test.each([
    ['with a watermark', false],
    ['without one', true],
  ])('reaches devices %s, at once and from the start', async (_, isLegacy) => {
    await using store = await openStore({ schema: todoSchema })
    const syncOptions = { logger: silentLogger }
    const server = createProductionServer({ store, port: 0, host: '127.0.0.1', syncOptions })
    await using _stopped = { [Symbol.asyncDispose]: () => server.stop() }
    const url = `${(await server.start()).replace('http', 'ws')}/kora-sync`
    const options = { url, schema: todoSchema }
    const queries = [{ collection: 'todos', where: { done: false } }]
    let aheadMs = 0
    const now = () => Date.now() + aheadMs
    await using writer = await openDevice({ ...options, name: 'writer', now })
    await using late = await openDevice({ ...options, name: 'late' })
    await using reader = await openDevice({ ...options, name: 'reader', queries, isLegacy })
    const id = writer.insert('todos', { title: 't', userId: 'u1', done: false })
    await late.until(() => late.record('todos', id) !== null, 'the todo is here')
    late.goOffline()
    late.update('todos', id, { done: true, title: 'late' })
    aheadMs = 1000
    writer.update('todos', id, { done: true })
    writer.update('todos', id, { done: false })
    await writer.synced()
    late.goOnline()
    await late.synced()

    await reader.until(() => reader.record('todos', id)?.title === 'late', 'the title is here')
    await using fresh = await openDevice({ ...options, name: 'fresh', queries, isLegacy })
    await fresh.until(() => fresh.record('todos', id)?.title === 'late', 'the title is here, too')
    expect(await store.readRecordValues('todos', [id])).toMatchObject(
      new Map([[id, { values: { title: 'late', done: false } }]]),
    )
  })
})
