import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FieldValues, JsonValue } from '../../../src/core/operation.ts'
import { ownValue } from '../../../src/core/own-property.ts'
import type { QuerySubset, ScopeFilter, ScopeMap } from '../../../src/core/scope.ts'
import {
  changeOf,
  createView,
  isVisible,
  type ScopeChanges,
  scopeKeyOf,
  showsRecord,
  type View,
  type Visibility,
} from '../../../src/core/view.ts'
import type { LogEntry } from '../../../src/store/store.ts'
import { ViewIndex } from '../../../src/sync/feed/view-index.ts'
import { Views } from '../../../src/sync/feed/views.ts'

/** More in nightly runs: PROPERTY_RUNS=100000. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 400)

const collection = fc.constantFrom('todos', 'notes', '__proto__')
// Of six fields there are more combinations than views are found by.
const field = fc.constantFrom('a', 'b', 'c', 'd', 'constructor', '__proto__')
const scalar = fc.constantFrom<JsonValue>('x', 'y,"z', 1, '1', true, null)
const value = fc.oneof(
  { weight: 9, arbitrary: scalar },
  { weight: 1, arbitrary: fc.constantFrom<JsonValue>(['x'], { x: 1 }) },
)

function dictionary<T>(key: fc.Arbitrary<string>, values: fc.Arbitrary<T>, maxLength: number) {
  return fc
    .array(fc.tuple(key, values), { maxLength })
    .map((entries): { readonly [key: string]: T } => Object.fromEntries(entries))
}

const filter: fc.Arbitrary<ScopeFilter> = dictionary(field, value, 3)
const scope: fc.Arbitrary<ScopeMap> = dictionary(collection, filter, 3)
const subset: fc.Arbitrary<QuerySubset> = fc.record({ collection, where: filter })
const view = fc
  .tuple(fc.option(scope), fc.array(subset, { maxLength: 4 }))
  .map(([granted, subsets]) => createView(granted, subsets))
const values: fc.Arbitrary<FieldValues> = dictionary(field, value, 6)

const change = fc.record({
  collection,
  kind: fc.constantFrom('operation', 'snapshot'),
  before: fc.option(values),
  after: values,
})

type Change = typeof change extends fc.Arbitrary<infer Value> ? Value : never

function visibilityOf({ collection, kind, before, after }: Change): Visibility {
  const fields = new Set([...Object.keys(before ?? {}), ...Object.keys(after)])
  const scopeChanges: ScopeChanges = [...fields].map((name) => {
    const key = scopeKeyOf(ownValue(after, name))
    const keyBefore = before === null ? key : scopeKeyOf(ownValue(before, name))
    return { field: name, after: key, ...(keyBefore !== key && { before: { key: keyBefore } }) }
  })
  return { kind, collection, scopeChanges }
}

interface Item {
  readonly view: View
}

function visitedOf(
  index: ViewIndex<Item>,
  name: string,
  keyOf: (field: string) => string | undefined,
): Item[] {
  const visited: Item[] = []
  index.visitCandidates(name, keyOf, (item) => visited.push(item))
  return visited
}

/** Asked as the feed asks, and as the relays do. */
function expectEachSeeingOnce(index: ViewIndex<Item>, present: readonly Item[], record: Change): void {
  const entry = visibilityOf(record)
  const byChanges = visitedOf(index, entry.collection, (name) => changeOf(entry.scopeChanges, name)?.after)
  const byValues = visitedOf(index, entry.collection, (name) => scopeKeyOf(ownValue(record.after, name)))

  for (const visited of [byChanges, byValues]) {
    expect(new Set(visited).size).toBe(visited.length)
    expect(visited.filter((item) => !present.includes(item))).toEqual([])
  }
  expect(present.filter((item) => isVisible(entry, item.view) && !byChanges.includes(item))).toEqual([])
  const seeing = present.filter((item) => showsRecord(entry.collection, record.after, item.view))
  expect(seeing.filter((item) => !byValues.includes(item))).toEqual([])
}

test('whoever sees a record is visited, and nobody twice, whoever came and went before', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(view, fc.boolean(), fc.boolean()), { maxLength: 40 }),
      fc.array(change, { minLength: 1, maxLength: 8 }),
      (views, changes) => {
        const index = new ViewIndex<Item>()
        const items = views.map(([shown, isLate, isLeaving]) => ({ view: shown, isLate, isLeaving }))
        const expectAll = (present: readonly Item[]): void => {
          for (const record of changes) expectEachSeeingOnce(index, present, record)
        }

        for (const item of items) if (!item.isLate) index.add(item)
        expectAll(items.filter(({ isLate }) => !isLate))
        for (const item of items) if (item.isLate) index.add(item)
        expectAll(items)
        for (const item of items) if (item.isLeaving) index.delete(item)
        expectAll(items.filter(({ isLeaving }) => !isLeaving))
      },
    ),
    { numRuns: RUNS },
  )
})

test('each view is given what it shows, once and in order', () => {
  fc.assert(
    fc.property(
      fc.array(view, { maxLength: 20 }),
      fc.array(change, { minLength: 1, maxLength: 10 }),
      (shown, changes) => {
        const views = new Views({ head: 0, evictedThrough: 0, evictedBytes: 0 }, 1e6)
        const reader = { takenThrough: 0, onViewAdvanced: () => {} }
        const shared = shown.map((one) => views.acquire(one, reader))
        const entries = changes.map(
          (record, index): LogEntry => ({
            ...visibilityOf(record),
            deliverySequence: index + 1,
            operationId: `op-${index}`,
            nodeId: 'node',
            sequenceNumber: index + 1,
            recordId: 'record',
            wireJson: '{}',
          }),
        )

        views.publish(entries)

        for (const one of shared) {
          expect(one.entriesAfter(0, 100, 1e6).entries).toEqual(
            entries.filter((entry) => isVisible(entry, one.view)),
          )
        }
      },
    ),
    { numRuns: RUNS },
  )
})
