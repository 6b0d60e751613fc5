import { expect, test } from 'vitest'
import { neededSince } from '../../../src/store/materialize/needed-since.ts'
import { planSchemaChange } from '../../../src/store/materialize/schema-change.ts'
import { fieldOfKind, schemaOf } from '../../support/schema-builders.ts'

const needed = fieldOfKind('string')
const optional = fieldOfKind('string', { required: false })
const defaulted = fieldOfKind('string', { defaultValue: '' })
const filled = fieldOfKind('timestamp', { auto: true })

test.each([
  ['a new field', {}, { a: needed }, ['a']],
  ['a field that was optional', { a: optional }, { a: needed }, ['a']],
  ['a field that had a default', { a: defaulted }, { a: needed }, ['a']],
  ['a field that always was', { a: needed }, { a: needed }, []],
  ['a new field with a default', {}, { a: defaulted }, []],
  ['a new field that clients fill in', {}, { a: filled }, []],
  ['a new field that is optional', {}, { a: optional }, []],
])('%s is needed since', (_, before, after, fields) => {
  const since = neededSince(schemaOf({ title: needed, ...before }), schemaOf({ title: needed, ...after }))

  expect(since).toEqual(fields.map((field) => ({ collection: 'todos', field })))
})

test('a collection that is new has no records yet, one that comes back may have', () => {
  const todos = schemaOf({ title: needed })
  const none = { ...todos, collections: {} }
  const withOwner = schemaOf({ title: needed, owner: needed })
  const removed = planSchemaChange(todos, none).materialized

  expect(neededSince(none, withOwner)).toEqual([])
  expect(neededSince(removed, withOwner)).toEqual([{ collection: 'todos', field: 'owner' }])
})

test('a field that comes back was not asked for meanwhile', () => {
  const withOwner = schemaOf({ title: needed, owner: needed })
  const removed = planSchemaChange(withOwner, schemaOf({ title: needed })).materialized

  expect(neededSince(removed, withOwner)).toEqual([{ collection: 'todos', field: 'owner' }])
})
