import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { JsonValue, Operation } from '../../src/core/operation.ts'
import { replayRecord } from '../../src/core/record/fold.ts'
import { createView } from '../../src/core/view.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { AppendRequest, ServerStore } from '../../src/store/store.ts'
import { deliveredOf } from '../support/delivered.ts'
import { SERVER_NODE, temporaryDirectory } from '../support/each-store.ts'
import { requestOf, withId } from '../support/operation-author.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'
import { todoSchema } from '../support/todo-schema.ts'

const RECORDS = ['r1', 'r2', 'r3']
const USERS = ['u1', 'u2', 'u3']
const SCALARS = ['title', 'done', 'userId']

const user = fc.constantFrom<JsonValue>(...USERS, null)
const tags = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 3 })
const fieldValues = fc.record(
  {
    title: fc.constantFrom('x', 'y', 'ü\u{1f600}'),
    done: fc.boolean(),
    priority: fc.integer({ min: -2, max: 2 }),
    tags,
    meta: fc.constantFrom<JsonValue>({ a: 1 }, { a: 2, b: 1 }, [1]),
    userId: user,
  },
  { requiredKeys: [] },
)
// An update without fields says only that the record lives; no snapshot can tell of that alone.
const someFieldValues = fieldValues.filter((values) => Object.keys(values).length > 0)

/** What one step of a history does; clocks repeat and go back, so that operations arrive late. */
const step = fc.record({
  type: fc.constantFrom<Operation['type']>('insert', 'update', 'update', 'update', 'update', 'delete'),
  recordId: fc.constantFrom(...RECORDS),
  data: someFieldValues,
  previousData: fieldValues,
  wallTime: fc.integer({ min: 1, max: 15 }),
  nodeId: fc.constantFrom('a', 'b'),
  isIncrement: fc.boolean(),
  scope: fc.constantFrom(null, null, ...USERS),
  isForged: fc.constantFrom(false, false, false, false, true),
})

const history = fc.array(fc.array(step, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 })

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never

/** @param isHonest no two operations have one clock reading */
function requestsOf(batches: readonly (readonly Step[])[], isHonest = false): AppendRequest[][] {
  let sequenceNumber = 0
  let last: AppendRequest | null = null
  return batches.map((batch) =>
    batch.map((part) => {
      sequenceNumber++
      const { type, recordId, data, previousData, wallTime, nodeId } = part
      const operation = withId({
        id: '',
        nodeId,
        type,
        collection: 'todos',
        recordId,
        data: type === 'delete' ? null : data,
        previousData: type === 'update' ? previousData : null,
        timestamp: { wallTime, logical: isHonest ? sequenceNumber : 0, nodeId },
        sequenceNumber,
        causalDeps: [],
        schemaVersion: 1,
        ...(part.isIncrement &&
          data.priority !== undefined && { atomicOps: { priority: { type: 'increment', value: 1 } } }),
      })
      const id = part.isForged && last !== null ? last.operation.id : operation.id
      const writeScope = part.scope === null ? null : { todos: { userId: part.scope } }
      last = requestOf({ ...operation, id }, { writeScope })
      return last
    }),
  )
}

/** Everything that a store shows. */
async function contentOf(store: ServerStore): Promise<unknown> {
  const views = [null, {}, ...USERS.map((userId) => ({ todos: { userId } }))]
  const seen = await Promise.all(
    views.map(async (scope) =>
      deliveredOf(
        await store.readDelivery({ after: 0, view: createView(scope), limit: 1000, maxBytes: 1e9 }),
      ),
    ),
  )
  return {
    log: (await store.readLog(0, 1000, 1e9)).entries,
    seen,
    records: await store.queryCollection('todos', { includeDeleted: true }),
    values: [...(await store.readRecordValues('todos', RECORDS))],
    vector: [...(await store.getVersionVector())].sort(),
    count: await store.getOperationCount(),
    range: await store.getOperationRange('a', 0, 1000),
  }
}

async function expectTablesToEqualReplay(store: ServerStore): Promise<void> {
  const operations = (await store.getOperationsAfterDelivery(0, 1000)).map(({ operation }) => operation)
  for (const recordId of RECORDS) {
    const own = operations.filter((operation) => operation.recordId === recordId)
    const replayed = replayRecord(own, todoSchema.collections.todos ?? null)
    const shown = (await store.readRecordValues('todos', [recordId])).get(recordId)
    expect(shown?.values ?? null).toEqual(replayed?.values ?? null)
    expect(shown?.isDeleted ?? true).toBe(replayed?.isDeleted ?? true)
  }
}

test('stores agree byte for byte, over restarts, and tables equal the replayed log', async () => {
  await fc.assert(
    fc.asyncProperty(
      history,
      fc.boolean(),
      fc.infiniteStream(fc.boolean()),
      async (batches, late, restarts) => {
        using directory = temporaryDirectory()
        const runtime = simulatedRuntime()
        const filename = join(directory.path, 'store.db')
        const open = () =>
          createSqliteServerStore({ filename, nodeId: SERVER_NODE, durability: 'normal', runtime })
        const memory = new MemoryServerStore({ nodeId: SERVER_NODE, runtime })
        let sqlite = open()
        const [first] = requestsOf(batches)
        if (!late) for (const store of [memory, sqlite]) await store.setSchema(todoSchema)

        for (const requests of requestsOf(batches)) {
          const results = await sqlite.append(requests)
          expect(results).toEqual(await memory.append(requests))
          if (late && requests[0]?.operation.id === first?.[0]?.operation.id) {
            for (const store of [memory, sqlite]) await store.setSchema(todoSchema)
          }
          if (restarts.next().value === true) {
            await sqlite.close()
            sqlite = open()
            await sqlite.setSchema(todoSchema)
            await memory.setSchema(todoSchema)
          }
        }

        for (const store of [memory, sqlite]) await store.setSchema(todoSchema)
        expect(await contentOf(sqlite)).toEqual(await contentOf(memory))
        await expectTablesToEqualReplay(sqlite)
        await expectTablesToEqualReplay(memory)
        await sqlite.close()
      },
    ),
    { numRuns: 150 },
  )
}, 120_000)

test('a view that reads its entries ends up with the records it may see, as they are', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (batches) => {
      const store = new MemoryServerStore({ nodeId: SERVER_NODE })
      await store.setSchema(todoSchema)
      for (const requests of requestsOf(batches, true)) await store.append(requests)

      for (const userId of USERS) {
        const view = createView({ todos: { userId } })
        const { entries } = await store.readDelivery({ after: 0, view, limit: 1000, maxBytes: 1e9 })
        const operations = entries.map((entry) => JSON.parse(entry.wireJson) as Operation)
        for (const [recordId, { values, isDeleted }] of await store.readRecordValues('todos', RECORDS)) {
          if (values.userId !== userId || isDeleted) continue
          const own = operations.filter((operation) => operation.recordId === recordId)
          const there = replayRecord(own, todoSchema.collections.todos ?? null)
          expect(there?.isDeleted).toBe(false)
          for (const field of SCALARS) {
            if (Object.hasOwn(values, field)) expect(there?.values[field]).toEqual(values[field])
          }
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('tracking a field late tells the same of every operation as tracking it from the start', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (batches) => {
      const [early, late] = [0, 1].map(() => new MemoryServerStore({ nodeId: SERVER_NODE }))
      const sqlite = createSqliteServerStore({ filename: ':memory:', nodeId: SERVER_NODE })
      if (early === undefined || late === undefined) throw new Error('two stores')
      for (const store of [early, late, sqlite]) await store.setSchema(todoSchema)
      await early.trackScopeField('todos', 'title')
      for (const requests of requestsOf(batches)) {
        for (const store of [early, late, sqlite]) await store.append(requests)
      }

      for (const store of [late, sqlite]) await store.trackScopeField('todos', 'title')

      const told = async (store: ServerStore) =>
        (await store.readLog(0, 1000, 1e9)).entries
          .filter(({ kind }) => kind === 'operation')
          .map(({ operationId, scopeChanges }) => [
            operationId,
            new Map(scopeChanges.map((c) => [c.field, c])),
          ])
      expect(await told(late)).toEqual(await told(early))
      expect((await sqlite.readLog(0, 1000, 1e9)).entries).toEqual((await late.readLog(0, 1000, 1e9)).entries)
      for (const title of ['x', 'y']) {
        const query = { after: 0, view: createView({ todos: { title } }), limit: 1000, maxBytes: 1e9 }
        expect(deliveredOf(await sqlite.readDelivery(query))).toEqual(
          deliveredOf(await late.readDelivery(query)),
        )
      }
      await sqlite.close()
    }),
    { numRuns: 150 },
  )
}, 60_000)
