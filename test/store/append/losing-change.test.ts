import { describe, expect, test } from 'vitest'
import type { FieldValues, JsonValue, Operation } from '../../../src/core/operation.ts'
import { replayRecord } from '../../../src/core/record/fold.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { Resolver, SchemaDefinition } from '../../../src/core/schema/types.ts'
import { matchesScope, type QuerySubset } from '../../../src/core/scope.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { rulesFor, runCompaction } from '../../../src/store/compaction/run-compaction.ts'
import { DeviceDatabase } from '../../support/device/database.ts'
import type { Row } from '../../support/device/merge.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { receiveAll, sentTo } from '../../support/filtered-device.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const R1 = recordIdOf('r1')
const AT = 1_750_000_000_000
const definition = todoSchema.collections.todos ?? null

/** The clock of a node at a time, to be given to an operation. */
const at = (nodeId: string, wallTime: number) => ({
  timestamp: { wallTime: AT + wallTime, logical: 0, nodeId },
})

/** The record as it is with a client that drops what matches none of its filters, seen with its row. */
function keptBy(filters: readonly FieldValues[], sent: readonly Operation[]): FieldValues | undefined {
  const kept: Operation[] = []
  for (const operation of sent) {
    const row = replayRecord(kept, definition)?.values
    const seen = { ...row, ...operation.previousData, ...operation.data }
    if (filters.some((where) => matchesScope(seen, 'todos', { todos: where }))) kept.push(operation)
  }
  const state = replayRecord(kept, definition)
  return state === null || state.isDeleted ? undefined : state.values
}

/** The record on a device that has been sent this, by clients' own rules of filtering and merging. */
function shownBy(
  queries: readonly QuerySubset[],
  sent: readonly Operation[],
  schema: SchemaDefinition = todoSchema,
): Row | null {
  const device = new DeviceDatabase({ nodeId: 'reader', now: () => AT + 1000, schema, schemaVersion: 1 })
  receiveAll(device, { scope: null, queries }, sent)
  return device.row('todos', R1)
}

const scoreSchema = (score: Resolver): SchemaDefinition =>
  defineSchema({
    version: 1,
    collections: {
      todos: {
        fields: { title: t.string(), done: t.boolean(), score: t.number() },
        resolve: { score },
      },
    },
  })

const isNotDone: readonly QuerySubset[] = [{ collection: 'todos', where: { done: false } }]

/** A record that was done for a while, which is not for what comes late. */
const doneAndUndone = (q: OperationAuthor, data: FieldValues = {}): Operation[] => [
  q.insert(R1, { title: 't', userId: 'u1', done: false, ...data }, at('q', 0)),
  q.update(R1, { done: true }, { previousData: { done: false }, ...at('q', 10) }),
  q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
]

describeEachStore('a change of a field that clients filter by, and which loses', (openStore) => {
  test('brings what else it changes', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const previousData = { userId: 'u1', title: 't', tags: [] }
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', tags: [] }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 30) }),
      p.update(R1, { userId: 'u3', title: 'late', tags: ['x'] }, { previousData, ...at('p', 20) }),
    ])

    const sent = await sentTo(store, { todos: { userId: 'u2' } })

    expect(keptBy([{ userId: 'u2' }], sent)).toMatchObject({ title: 'late', tags: ['x'], userId: 'u2' })
    // For the others nothing is written beside it.
    expect(sent.at(-1)).toMatchObject({ data: { title: 'late', tags: ['x'] }, ...at('p', 20) })
    expect(sent.at(-1)?.data).not.toHaveProperty('userId')
  })

  test('brings it to a query that filters by the field, too', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'done')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { done: true }, { previousData: { done: false }, ...at('q', 10) }),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
      p.update(
        R1,
        { done: true, title: 'late' },
        { previousData: { done: false, title: 't' }, ...at('p', 20) },
      ),
    ])

    const sent = await sentTo(store, null, [{ collection: 'todos', where: { done: false } }])

    expect(keptBy([{ done: false }], sent)).toMatchObject({ title: 'late', done: false })
  })

  test('brings a list that others have changed, too, as it is everywhere', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const previousData = { userId: 'u1', tags: ['a'] }
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', tags: ['a'] }, at('q', 0)),
      q.update(R1, { userId: 'u2' }, { previousData: { userId: 'u1' }, ...at('q', 30) }),
      q.update(R1, { tags: ['a', 'q'] }, { previousData: { tags: ['a'] }, ...at('q', 40) }),
      p.update(R1, { userId: 'u3', tags: ['a', 'p'] }, { previousData, ...at('p', 20) }),
    ])

    const sent = await sentTo(store, { todos: { userId: 'u2' } })

    const shown = await store.findRecord('todos', R1)
    expect(new Set(shown?.tags as string[])).toEqual(new Set(['a', 'p', 'q']))
    expect(keptBy([{ userId: 'u2' }], sent)?.tags).toEqual(shown?.tags)
  })

  test('brings it where an atomic operation has composed to another value, which counts once', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'priority')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const increment = (value: JsonValue) => ({
      atomicOps: { priority: { type: 'increment', value } } as const,
    })
    const update = (author: OperationAuthor, data: FieldValues, time: number, value: number) =>
      author.update(R1, data, {
        previousData: { priority: 5, title: 't' },
        ...at(author.nodeId, time),
        ...increment(value),
      })
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', priority: 5 }, at('q', 0)),
      update(p, { priority: 7 }, 20, 2),
      update(q, { priority: 6, title: 'late' }, 10, 1),
    ])
    const where = [{ priority: 8 }, { userId: 'u1' }]

    const all = await sentTo(store, null)
    const sent = await sentTo(
      store,
      null,
      where.map((filter) => ({ collection: 'todos', where: filter })),
    )

    expect(replayRecord(all, definition)?.values).toMatchObject({ title: 'late', priority: 8 })
    expect(keptBy(where, sent)).toMatchObject({ title: 'late', priority: 8 })
  })

  test('brings a deletion that names an old value', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'done')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: true }, at('q', 0)),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
      p.delete(R1, { previousData: { done: true }, ...at('p', 40) }),
    ])

    const sent = await sentTo(store, null, [{ collection: 'todos', where: { done: false } }])

    expect(keptBy([{ done: false }], sent)).toBeUndefined()
  })

  test('tells those who gain the record nothing of what it was before', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'done')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const previousData = { userId: 'u1', done: false, title: 'secret' }
    await appendAll(store, [
      q.insert(R1, { title: 'secret', userId: 'u1', done: false }, at('q', 0)),
      q.update(R1, { done: true }, { previousData: { done: false }, ...at('q', 10) }),
      q.update(R1, { done: false }, { previousData: { done: true }, ...at('q', 30) }),
      p.update(R1, { userId: 'u2', done: true, title: 'new' }, { previousData, ...at('p', 20) }),
    ])
    const where = { userId: 'u2', done: false }

    const gained = await sentTo(store, { todos: where })
    const kept = await sentTo(store, null, [{ collection: 'todos', where: { done: false } }])

    expect(JSON.stringify(gained)).not.toContain('secret')
    expect(keptBy([where], gained)).toMatchObject({ title: 'new', ...where })
    expect(keptBy([{ done: false }], kept)).toMatchObject({ title: 'new', ...where })
  })

  test('writes nothing where it names what the record has', async () => {
    await using store = await openStore({ schema: todoSchema })
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1' }, at('q', 0)),
      p.update(
        R1,
        { userId: 'u1', title: 'a' },
        { previousData: { userId: 'u1', title: 't' }, ...at('p', 1) },
      ),
      p.update(R1, { title: 'b' }, { previousData: { title: 'a' }, ...at('p', 2) }),
    ])

    expect(await sentTo(store, null)).toHaveLength(3)
    expect(await store.getMaxDeliverySequence()).toBe(3)
  })

  test('brings the clock of a value that the record has already', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'done')
    const [p, q, r] = [new OperationAuthor('p'), new OperationAuthor('q'), new OperationAuthor('r')]
    const previousData = { title: 't', done: false }
    await appendAll(store, [
      ...doneAndUndone(q),
      q.update(R1, { title: 'b' }, { previousData: { title: 't' }, ...at('q', 15) }),
      p.update(R1, { done: true, title: 'b' }, { previousData, ...at('p', 20) }),
      r.update(R1, { title: 'z' }, { previousData: { title: 't' }, ...at('r', 17) }),
    ])

    const shown = await store.findRecord('todos', R1)
    const row = shownBy(isNotDone, await sentTo(store, null, isNotDone))

    expect(shown?.title).toBe('b')
    expect(row?.values.title).toBe('b')
  })

  test.each([
    ['before', true],
    ['after', false],
  ])(
    'supersedes nothing for a compaction where the field was tracked %s it came',
    async (_, isTrackedBefore) => {
      await using store = await openStore({ schema: todoSchema })
      if (isTrackedBefore) await store.trackScopeField('todos', 'done')
      const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
      const previousData = { title: 't', done: false }
      await appendAll(store, [
        q.insert(R1, { title: 't', userId: 'u1', done: false }, at('q', 0)),
        q.update(R1, { done: false }, { previousData: { done: false }, ...at('q', 30) }),
        q.update(R1, { title: 'b' }, { previousData: { title: 't' }, ...at('q', 15) }),
        p.update(R1, { done: true, title: 'b' }, { previousData, ...at('p', 20) }),
        q.update(R1, { priority: 1 }, { previousData: {}, ...at('q', 50) }),
      ])
      if (!isTrackedBefore) await store.trackScopeField('todos', 'done')

      const rules = rulesFor({ keepForMs: 0, tombstonesMs: null }, Date.now())
      await runCompaction(store, rules, { runtime: systemRuntime() })
      const row = shownBy(isNotDone, await sentTo(store, null, isNotDone))

      expect(row?.values.title).toBe('b')
    },
  )

  test('brings a deleted record back', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'priority')
    const [p, q] = [new OperationAuthor('p'), new OperationAuthor('q')]
    const max = (value: number) => ({ atomicOps: { priority: { type: 'max', value } } }) as const
    const parts = { previousData: { priority: 3 } }
    await appendAll(store, [
      q.insert(R1, { title: 't', userId: 'u1', done: false, priority: 3 }, at('q', 0)),
      q.update(R1, { priority: 9 }, { ...parts, ...at('q', 5), ...max(9) }),
      q.delete(R1, at('q', 15)),
      p.update(R1, { priority: 5 }, { ...parts, ...at('p', 20), ...max(5) }),
    ])
    const queries = [{ collection: 'todos', where: { priority: 9 } }]

    const row = shownBy(queries, await sentTo(store, null, queries))

    expect(await store.findRecord('todos', R1)).toMatchObject({ priority: 9 })
    expect(row).toMatchObject({ isDeleted: false, values: { priority: 9 } })
  })

  test('leaves an increment behind which others have composed as it is with its author', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'done')
    const [b, q, r] = [new OperationAuthor('b'), new OperationAuthor('q'), new OperationAuthor('r')]
    const atomicOps = { priority: { type: 'increment', value: 1 } } as const
    let nowMs = AT + 20
    const author = new DeviceDatabase({ nodeId: 'p', now: () => nowMs, schema: todoSchema, schemaVersion: 1 })
    const insert = q.insert(R1, { title: 't', userId: 'u1', done: false, priority: 0 }, at('q', 0))
    author.receive(insert)
    const increment = (node: OperationAuthor, priority: number, time: number): Operation =>
      node.update(R1, { priority }, { atomicOps, ...at(node.nodeId, time) })
    await appendAll(store, [
      insert,
      q.update(R1, { done: false }, { previousData: { done: false }, ...at('q', 30) }),
      increment(b, 1, 5),
      increment(q, 1, 40),
      author.write({ type: 'update', collection: 'todos', recordId: R1, data: { done: true }, atomicOps }),
      increment(r, 4, 50),
    ])

    nowMs = AT + 1000
    receiveAll(author, { scope: null, queries: isNotDone }, await sentTo(store, null, isNotDone))

    expect(await store.findRecord('todos', R1)).toMatchObject({ priority: 4 })
    expect(author.row('todos', R1)?.values.priority).toBe(4)
  })

  describe('in a field with a resolver', () => {
    const resolvers: readonly (readonly [string, Resolver, number])[] = [
      ['a sum', (local, remote, base) => Number(local) + Number(remote) - Number(base), 109],
      ['the largest', (local, remote) => Math.max(Number(local), Number(remote)), 100],
    ]

    test.each(resolvers)('is not merged twice by its author: %s', async (name, resolver, expected) => {
      const schema = scoreSchema(resolver)
      await using store = await openStore({ schema })
      await store.trackScopeField('todos', 'done')
      const [q, r] = [new OperationAuthor('q'), new OperationAuthor('r')]
      let nowMs = AT + 20
      const author = new DeviceDatabase({ nodeId: 'p', now: () => nowMs, schema, schemaVersion: 1 })
      const insert = q.insert(R1, { title: 't', done: false, score: 1 }, at('q', 0))
      author.receive(insert)
      const data = { done: true, score: 10 }
      await appendAll(store, [
        insert,
        q.update(R1, { done: false }, { previousData: { done: false }, ...at('q', 30) }),
        r.update(R1, { score: 100 }, { previousData: { score: 1 }, ...at('r', 25) }),
        author.write({ type: 'update', collection: 'todos', recordId: R1, data }),
      ])

      const sent = await sentTo(store, null, isNotDone)
      nowMs = AT + 1000
      receiveAll(author, { scope: null, queries: isNotDone }, sent)

      expect(await store.findRecord('todos', R1)).toMatchObject({ score: expected })
      expect(author.row('todos', R1)?.values.score).toBe(expected)
      if (name === 'the largest') expect(shownBy(isNotDone, sent, schema)?.values.score).toBe(expected)
    })
  })
})
