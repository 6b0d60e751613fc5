import { expect, test } from 'vitest'
import type { FieldValues } from '../../src/core/operation.ts'
import type { QuerySubset, ScopeMap } from '../../src/core/scope.ts'
import { createView, scopeKeyOf, showsRecord, type View } from '../../src/core/view.ts'
import { MAX_FIELD_COMBINATIONS, ViewIndex } from '../../src/sync/view-index.ts'

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
    index < taken
      ? { todos: { userId: 'somebody', [`field${index}`]: 1 } }
      : { todos: { userId: `u${index}`, done: false } },
  ])

  const counts = countVisits(views, 'todos', { userId: 'u1234', done: false })

  expect(counts.seeing).toBe(1)
  expect(counts.visited).toBeLessThanOrEqual(HANDFUL)
})

test('a view that is gone is not visited, and leaves no trace in how others are found', () => {
  const views = indexOf(1, () => [{ todos: { orgId: 'another' } }])
  const users = Array.from({ length: 2 * MAX_FIELD_COMBINATIONS }, (_, index) => ({
    view: createView({ todos: { orgId: 'o', [`field${index}`]: 1 } }, [{ collection: 'todos', where: {} }]),
  }))
  for (const item of users) views.add(item)
  for (const item of users) views.delete(item)
  views.add({ view: createView({ todos: { orgId: 'o', userId: 'u1' } }) })

  expect(countVisits(views, 'todos', { orgId: 'o', userId: 'u2', field1: 1 }).visited).toBe(0)
  expect(countVisits(views, 'todos', { orgId: 'o', userId: 'u1', field1: 1 }).visited).toBe(1)
})
