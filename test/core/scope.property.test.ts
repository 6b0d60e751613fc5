import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FieldValues, JsonValue } from '../../src/core/operation.ts'
import { grantScope, matchesScope, type ScopeMap } from '../../src/core/scope.ts'
import { createView, isVisible, type ScopeChanges, scopeKeyOf } from '../../src/core/view.ts'

const name = fc.constantFrom('todos', 'notes', 'constructor', 'toString', '__proto__', 'hasOwnProperty')
const scalar = fc.constantFrom<JsonValue>('a', 'b', 1, '1', true, null)
const filterValue = fc.oneof(
  { weight: 6, arbitrary: scalar },
  { weight: 1, arbitrary: fc.constantFrom(['a'], { a: 1 }) },
)

function ownDictionary<T>(values: fc.Arbitrary<T>): fc.Arbitrary<{ readonly [key: string]: T }> {
  return fc.array(fc.tuple(name, values), { maxLength: 3 }).map((entries) => Object.fromEntries(entries))
}

const scopeMap: fc.Arbitrary<ScopeMap> = ownDictionary(ownDictionary(filterValue))
const record: fc.Arbitrary<FieldValues> = ownDictionary(filterValue)

test('what is granted never exceeds authentication', () => {
  fc.assert(
    fc.property(
      scopeMap,
      fc.option(scopeMap, { nil: undefined }),
      record,
      name,
      (auth, wish, values, collection) => {
        const granted = grantScope(auth, wish)
        if (matchesScope(values, collection, granted))
          expect(matchesScope(values, collection, auth)).toBe(true)
      },
    ),
    { numRuns: 20_000 },
  )
})

test('a client is not sent what it did not ask for', () => {
  fc.assert(
    fc.property(fc.option(scopeMap), scopeMap, name, (auth, wish, collection) => {
      const granted = grantScope(auth, wish)
      if (Object.keys(wish).length === 0) {
        expect(granted).toBe(auth)
      } else if (!Object.hasOwn(wish, collection)) {
        expect(matchesScope({}, collection, granted)).toBe(false)
      }
    }),
    { numRuns: 5000 },
  )
})

test('an empty scope hides everything, no scope nothing', () => {
  expect(matchesScope({}, 'todos', grantScope({}, undefined))).toBe(false)
  expect(matchesScope({}, 'todos', grantScope({}, { todos: {} }))).toBe(false)
  expect(matchesScope({}, 'todos', grantScope(null, undefined))).toBe(true)
  expect(matchesScope({}, 'toString', { todos: {} })).toBe(false)
})

test('a view and its scope agree about a new record', () => {
  fc.assert(
    fc.property(scopeMap, record, name, (scope, values, collection) => {
      const scopeChanges: ScopeChanges = Object.entries(values).map(([field, value]) => ({
        field,
        after: scopeKeyOf(value),
      }))
      const entry = { kind: 'operation', collection, scopeChanges } as const
      expect(isVisible(entry, createView(scope))).toBe(matchesScope(values, collection, scope))
    }),
    { numRuns: 5000 },
  )
})

test('equal views have equal keys, whatever the order they were written in', () => {
  const subsets = [
    { collection: 'a', where: { x: 1, y: 2 } },
    { collection: 'a', where: { x: 2 } },
  ]
  const reordered = [
    { collection: 'a', where: { x: 2 } },
    { collection: 'a', where: { y: 2, x: 1 } },
    { collection: 'a', where: { x: 2 } },
  ]
  const first = createView({ a: { t: 1 }, b: {} }, subsets)

  expect(createView({ b: {}, a: { t: 1 } }, reordered)).toEqual(first)
  expect(createView({ b: {}, a: { t: 2 } }, reordered).key).not.toBe(first.key)
  expect(createView(null, reordered).key).not.toBe(createView({}, reordered).key)
})
