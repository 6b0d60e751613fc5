import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import type { ScopeFilter } from '../../../src/core/scope.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { sentTo } from '../../support/filtered-device.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

/** More in nightly runs: PROPERTY_RUNS=100000. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 200)
const R1 = recordIdOf('r1')
const AT = 1_750_000_000_000
const LATE_FIELDS = ['done', 'priority']
const INSERTED: FieldValues = { title: 'inserted', userId: 'u1', done: false, priority: 1 }

interface Change {
  /** Which of the states that the record has had its author has seen last, from 0 to 1. */
  readonly seen: number
  readonly hasTitle: boolean
  readonly data: FieldValues
}

const userId = fc.constantFrom('u1', 'u2')
const priority = fc.constantFrom(1, 2)
const change: fc.Arbitrary<Change> = fc.record({
  seen: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  hasTitle: fc.boolean(),
  data: fc.record({ userId, done: fc.boolean(), priority }, { requiredKeys: [] }),
})
/** In their order of arrival, with a clock each that has nothing to do with it. */
const changes = fc
  .array(change, { minLength: 2, maxLength: 8 })
  .chain((made) =>
    fc.tuple(
      fc.constant(made),
      fc.shuffledSubarray([...made.keys()], { minLength: made.length, maxLength: made.length }),
    ),
  )
/** After how many changes each of the fields is tracked. */
const trackedAfter = fc.tuple(fc.nat({ max: 8 }), fc.nat({ max: 8 }))
const scope: fc.Arbitrary<ScopeFilter> = fc.record(
  { userId, done: fc.boolean(), priority },
  { requiredKeys: [] },
)

/** Every title is another one. */
async function storeAll(
  [made, clocks]: readonly [readonly Change[], readonly number[]],
  times: readonly number[],
): Promise<MemoryServerStore> {
  const store = new MemoryServerStore()
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('a')
  const states = [INSERTED]
  for (let count = 0; count <= made.length; count++) {
    for (const [index, field] of LATE_FIELDS.entries()) {
      if (Math.min(times[index] as number, made.length) === count) await store.trackScopeField('todos', field)
    }
    if (count === 0) await appendAll(store, [author.insert(R1, INSERTED, at(0))])
    const next = made[count]
    if (next === undefined) break
    const data = { ...next.data, ...(next.hasTitle && { title: `title ${count}` }) }
    const base = states[Math.floor(next.seen * states.length)] as FieldValues
    const previousData = Object.fromEntries(Object.keys(data).map((field) => [field, base[field] ?? null]))
    await appendAll(store, [author.update(R1, data, { previousData, ...at(1 + (clocks[count] as number)) })])
    states.push((await store.readRecordValues('todos', [R1])).get(R1)?.values ?? {})
  }
  return store
}

function at(wallTime: number): Pick<Operation, 'timestamp'> {
  return { timestamp: { wallTime: AT + wallTime, logical: 0, nodeId: 'a' } }
}

async function titlesSentTo(store: MemoryServerStore, filter: ScopeFilter): Promise<Set<unknown>> {
  const sent = await sentTo(store, { todos: filter })
  const titles = sent.flatMap(({ data, previousData }) => [data?.title, previousData?.title])
  return new Set(titles.filter((title) => title !== undefined))
}

test('a scope is told no value that it would not have been told had its fields been tracked from the start', async () => {
  await fc.assert(
    fc.asyncProperty(changes, trackedAfter, scope, async (history, times, filter) => {
      const [early, late] = [await storeAll(history, [0, 0]), await storeAll(history, times)]

      const known = await titlesSentTo(early, filter)

      expect([...(await titlesSentTo(late, filter))].filter((title) => !known.has(title))).toEqual([])
    }),
    { numRuns: RUNS },
  )
})
