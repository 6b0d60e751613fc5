import { expect, test } from 'vitest'
import type { FieldValues } from '../../../src/core/operation.ts'
import type { QuerySubset, ScopeMap } from '../../../src/core/scope.ts'
import { createView, scopeKeyOf, showsRecord, type View } from '../../../src/core/view.ts'
import { MAX_FIELD_COMBINATIONS, ViewIndex } from '../../../src/sync/feed/view-index.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'
import { settle } from '../../support/simulated-runtime.ts'

const SESSIONS = 3000
const HANDFUL = 3

interface Item {
  readonly view: View
}

function indexOf(
  count: number,
  shape: (index: number) => [ScopeMap | null, QuerySubset[]?],
): ViewIndex<Item> {
  const views = new ViewIndex<Item>()
  for (let index = 0; index < count; index++) views.add({ view: createView(...shape(index)) })
  return views
}

function countVisits(views: ViewIndex<Item>, collection: string, values: FieldValues) {
  const counts = { visited: 0, seeing: 0 }
  views.visitCandidates(
    collection,
    (field) => scopeKeyOf(values[field]),
    ({ view }) => {
      counts.visited++
      if (showsRecord(collection, values, view)) counts.seeing++
    },
  )
  return counts
}

test.each<[string, (index: number) => [ScopeMap | null, QuerySubset[]?]]>([
  ['of users of one organization', (index) => [{ todos: { orgId: 'o', userId: `u${index}` } }]],
  [
    'without a scope, each with a subset',
    (index) => [null, [{ collection: 'todos', where: { userId: `u${index}` } }]],
  ],
  [
    'of one organization, each with subsets',
    (index) => [
      { todos: { orgId: 'o' } },
      [
        { collection: 'todos', where: { userId: `u${index}` } },
        { collection: 'todos', where: { userId: `u${index}`, done: false } },
        { collection: 'notes', where: {} },
      ],
    ],
  ],
  [
    'of everything, each with a subset of two fields',
    (index) => [{ todos: {} }, [{ collection: 'todos', where: { done: false, userId: `u${index}` } }]],
  ],
])('an operation visits a handful of 3,000 views %s', (_shape, shape) => {
  const views = indexOf(SESSIONS, shape)

  const seen = countVisits(views, 'todos', { orgId: 'o', userId: 'u1234', done: false })
  const unseen = countVisits(views, 'todos', { orgId: 'o', userId: 'nobody', done: false })

  expect(seen.seeing).toBe(1)
  expect(seen.visited).toBeLessThanOrEqual(HANDFUL)
  expect(unseen.visited).toBeLessThanOrEqual(HANDFUL)
})

test('views without a scope are visited for the collections that their subsets do not name', () => {
  const views = indexOf(SESSIONS, (index) => [
    null,
    [{ collection: index % 2 === 0 ? 'todos' : 'notes', where: { userId: `u${index}` } }],
  ])

  expect(countVisits(views, 'lists', {})).toEqual({ visited: SESSIONS, seeing: SESSIONS })
  expect(countVisits(views, 'todos', {})).toEqual({ visited: SESSIONS / 2, seeing: SESSIONS / 2 })
})

test('whoever asks for many combinations of fields is found by fewer of them', () => {
  const taken = MAX_FIELD_COMBINATIONS
  const views = indexOf(taken + SESSIONS, (index) => [
    null,
    [
      index < taken
        ? { collection: 'todos', where: { userId: 'somebody', [`field${index}`]: 1 } }
        : { collection: 'todos', where: { userId: `u${index}`, done: false } },
    ],
  ])

  const counts = countVisits(views, 'todos', { userId: 'u1234', done: false })

  expect(counts.seeing).toBe(1)
  expect(counts.visited).toBeLessThanOrEqual(HANDFUL)
})

/** A client of the same organization that asks for as many combinations of fields as there are. */
function greedyView(scope: ScopeMap): Item {
  const subsets = Array.from({ length: MAX_FIELD_COMBINATIONS }, (_, index) => ({
    collection: 'todos',
    where: { [`field${index}`]: 1 },
  }))
  return { view: createView(scope, subsets) }
}

test('views are found by all fields of their scopes, whatever clients ask for', () => {
  const views = new ViewIndex<Item>()
  views.add(greedyView({ todos: { orgId: 'o' } }))
  for (let index = 0; index < SESSIONS; index++) {
    views.add({ view: createView({ todos: { orgId: 'o', userId: `u${index}` } }) })
  }

  const counts = countVisits(views, 'todos', { orgId: 'o', userId: 'u1234' })

  expect(counts.seeing).toBe(1)
  expect(counts.visited).toBeLessThanOrEqual(HANDFUL)
})

test('what a client has asked for is left to the others once it is gone, to the most of them first', () => {
  const views = new ViewIndex<Item>()
  const greedy = greedyView({ todos: { orgId: 'o' } })
  views.add(greedy)
  const ask = (where: QuerySubset['where']): Item => {
    const item = { view: createView({ todos: { orgId: 'o' } }, [{ collection: 'todos', where }]) }
    views.add(item)
    return item
  }
  for (let index = 0; index < 2 * MAX_FIELD_COMBINATIONS; index++) ask({ [`other${index}`]: 1 })
  const users = Array.from({ length: SESSIONS }, (_, index) => ask({ userId: `u${index}` }))
  const record = { orgId: 'o', userId: 'u1234' }
  expect(countVisits(views, 'todos', record).visited).toBeGreaterThanOrEqual(SESSIONS)

  views.delete(greedy)

  const counts = countVisits(views, 'todos', record)
  expect(counts.seeing).toBe(1)
  expect(counts.visited).toBeLessThanOrEqual(MAX_FIELD_COMBINATIONS + HANDFUL + 1) // others that still wait
  for (const item of users) views.delete(item)
  expect(countVisits(views, 'todos', record).seeing).toBe(0)
})

test('fields that one view has by its scope, and another by what it asks for, take no place of the latter', () => {
  const views = new ViewIndex<Item>()
  const granted = { view: createView({ todos: { orgId: 'o', userId: 'boss' } }) }
  const asked = (index: number) =>
    createView({ todos: { orgId: 'o' } }, [{ collection: 'todos', where: { userId: `u${index}` } }])
  views.add(greedyView({ todos: { orgId: 'o' } }))
  for (let index = 0; index < SESSIONS; index++) views.add({ view: asked(index) })
  const record = { orgId: 'o', userId: 'u1234' }
  expect(countVisits(views, 'todos', record).visited).toBeGreaterThanOrEqual(SESSIONS)

  views.add(granted)

  expect(countVisits(views, 'todos', record)).toEqual({ visited: 1, seeing: 1 })
  views.delete(granted)
  expect(countVisits(views, 'todos', record)).toEqual({ visited: 1, seeing: 1 })
})

test('collections that nobody has, asked for by whoever, make no view visited in vain', () => {
  const views = indexOf(SESSIONS, (index) => [
    null,
    [{ collection: 'todos', where: { userId: `u${index}`, done: false } }],
  ])
  for (let index = 0; index < 1000; index++) countVisits(views, `made up ${index}`, {})

  expect(countVisits(views, 'todos', { userId: 'u1234', done: false })).toEqual({ visited: 1, seeing: 1 })
})

test('nothing of who asked is kept once it was answered', async () => {
  const views = indexOf(1, () => [null])
  const ask = (): WeakRef<object> => {
    const asked = { visits: 0 }
    views.visitCandidates(
      'todos',
      () => undefined,
      () => void asked.visits++,
    )
    return new WeakRef(asked)
  }

  const asked = ask()
  await settle() // a reference that was made keeps it until then
  collectGarbage()

  expect(asked.deref()).toBeUndefined()
})

test('a view that is gone is not visited, and leaves no trace in how others are found', () => {
  const views = indexOf(1, () => [{ todos: { orgId: 'another' } }])
  const users = Array.from({ length: 2 * MAX_FIELD_COMBINATIONS }, (_, index) => ({
    view: createView({ todos: { orgId: 'o' } }, [{ collection: 'todos', where: { [`field${index}`]: 1 } }]),
  }))
  for (const item of users) views.add(item)
  for (const item of users) views.delete(item)
  views.add({ view: createView({ todos: { orgId: 'o', userId: 'u1' } }) })

  expect(countVisits(views, 'todos', { orgId: 'o', userId: 'u2', field1: 1 }).visited).toBe(0)
  expect(countVisits(views, 'todos', { orgId: 'o', userId: 'u1', field1: 1 }).visited).toBe(1)
})
