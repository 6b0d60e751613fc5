import { describe, expect, test } from 'vitest'
import { parseSchema } from '../../../src/core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { renderStep } from '../../../src/store/materialize/ddl.ts'
import { assertNothingRefused, planSchemaChange } from '../../../src/store/materialize/schema-change.ts'
import { fieldOfKind, schemaOf } from '../../support/schema-builders.ts'

const title = fieldOfKind('string')
const stepsOf = (previous: SchemaDefinition | null, next: SchemaDefinition) =>
  planSchemaChange(previous, next).steps.map((step) => step.kind)
const fromJson = (schema: SchemaDefinition) => parseSchema(JSON.parse(JSON.stringify(schema)))

test('a new store gets a table, its indexes, and its records', () => {
  const schema = schemaOf({ title, ownerId: title }, { indexes: ['title'] })
  expect(stepsOf(null, schema)).toEqual(['create-table', 'create-index', 'create-index', 'replay'])
})

test('an unchanged schema needs nothing, also when it was read back from JSON', () => {
  const schema = schemaOf(
    { title, n: fieldOfKind('number', { defaultValue: 1 }) },
    { indexes: ['title'], resolvers: { n: (a: number) => a } },
  )
  expect(planSchemaChange(fromJson(planSchemaChange(null, schema).materialized), schema)).toMatchObject({
    steps: [],
    refusals: [],
    changes: [],
  })
})

test('each index is made once, on fields, foreign keys, constraints and _deleted', () => {
  const schema = parseSchema({
    version: 1,
    collections: {
      todos: {
        fields: { projectId: title, title, email: title, room: title, slot: fieldOfKind('number') },
        indexes: ['email', 'projectId'],
        constraints: [
          { type: 'unique', fields: ['email'] },
          { type: 'capacity', fields: ['room'], where: { slot: 1, elsewhere: true } },
          { type: 'referential', fields: ['title'], where: { collection: 'projects' } },
        ],
      },
      projects: { fields: { title } },
    },
    relations: {
      r: { from: 'todos', to: 'projects', field: 'projectId', onDelete: 'cascade' },
      s: { from: 'todos', to: 'projects', field: 'title', onDelete: 'no-action' },
    },
  })
  const indexes = planSchemaChange(null, schema).steps.flatMap((step) =>
    step.kind === 'create-index' && step.index.collection === 'todos' ? [step.index] : [],
  )
  expect(indexes.map((index) => index.columns)).toEqual([
    ['email'],
    ['projectId'],
    ['projectId', '_deleted'],
    ['title'],
    ['email', '_deleted'],
    ['room', 'slot', '_deleted'],
    ['_deleted'],
  ])
})

test('names of indexes fit and never meet', () => {
  const long = 'a'.repeat(63)
  const schema = parseSchema({
    version: 1,
    collections: {
      a_b: { fields: { c: title }, indexes: ['c'] },
      a: { fields: { b_c: title }, indexes: ['b_c'] },
      [long]: {
        fields: { [long]: title, [`${long.slice(1)}b`]: title },
        indexes: [long, `${long.slice(1)}b`],
      },
    },
  })
  const names = planSchemaChange(null, schema).steps.flatMap((step) =>
    step.kind === 'create-index' ? [step.index.name] : [],
  )
  expect(new Set(names).size).toBe(names.length)
  expect(Math.max(...names.map((name) => Buffer.byteLength(name)))).toBeLessThanOrEqual(63)
})

describe('a field', () => {
  const before = schemaOf({ title })

  test('that is new gets a column, filled with its default', () => {
    const next = schemaOf({ title, n: fieldOfKind('number', { defaultValue: 5 }) })
    expect(stepsOf(before, next)).toEqual(['add-column', 'fill-columns'])
  })

  test('that is new and merged is folded from the log', () => {
    expect(stepsOf(before, schemaOf({ title, tags: fieldOfKind('array') }))).toEqual(['add-column', 'replay'])
  })

  test('that is merged is folded from the log when its default changes, or that of what merges with it', () => {
    const withDefaults = (tags: string[], count: number) =>
      schemaOf({
        tags: fieldOfKind('array', { defaultValue: tags }),
        count: fieldOfKind('number', { mergeStrategy: 'counter', defaultValue: count }),
      })
    expect(stepsOf(withDefaults([], 0), withDefaults(['new'], 0))).toEqual(['set-default', 'replay'])
    expect(stepsOf(withDefaults([], 0), withDefaults([], 1))).toEqual(['set-default', 'replay'])
    expect(stepsOf(fromJson(withDefaults([], 0)), withDefaults([], 0))).toEqual([])
  })

  test('that is removed is folded from the log where numbers were merged with it', () => {
    const count = fieldOfKind('number', { mergeStrategy: 'counter' })
    const tags = fieldOfKind('array')
    expect(stepsOf(schemaOf({ count, tags }), schemaOf({ count }))).toEqual(['replay'])
    expect(stepsOf(schemaOf({ title, tags }), schemaOf({ title }))).toEqual([])
    expect(stepsOf(schemaOf({ count, title }), schemaOf({ count }))).toEqual([])
  })

  test('that is removed keeps its column, and takes it up again when it returns', () => {
    const both = schemaOf({ title, note: title })
    const removed = planSchemaChange(both, before)
    expect(removed.steps).toEqual([])
    expect(removed.materialized.retired).toEqual({ todos: { note: title } })

    const returned = planSchemaChange(fromJson(removed.materialized), both)
    expect(returned.steps).toEqual([{ kind: 'fill-columns', collection: 'todos', fields: ['note'] }])
    expect(returned.materialized.retired).toBeUndefined()
  })

  test('that other versions had is remembered by name, while the version is another', () => {
    const second = { ...schemaOf({ title, note: title }), version: 2 }
    const { materialized } = planSchemaChange(planSchemaChange(null, before).materialized, second)
    expect(fromJson(materialized).otherVersions).toEqual({ 1: { todos: ['title'] } })

    const third = planSchemaChange(fromJson(materialized), { ...before, version: 3 }).materialized
    expect(third.otherVersions).toEqual({ 1: { todos: ['title'] }, 2: { todos: ['title', 'note'] } })

    const back = planSchemaChange(fromJson(third), second).materialized
    expect(back.otherVersions).toEqual({ 1: { todos: ['title'] }, 3: { todos: ['title'] } })
  })

  test('that returns as another kind is refused', () => {
    const removed = planSchemaChange(schemaOf({ title, note: title }), before).materialized
    const { refusals } = planSchemaChange(removed, schemaOf({ title, note: fieldOfKind('number') }))
    expect(refusals).toHaveLength(1)
  })

  test('that differs only by case from a kept column is refused', () => {
    const removed = planSchemaChange(schemaOf({ title, noteText: title }), before).materialized
    expect(planSchemaChange(removed, schemaOf({ title, notetext: title })).refusals).toHaveLength(1)
  })

  test.each([
    ['enum', 'string'],
    ['string', 'secret'],
    ['object', 'json'],
  ])('may change from %s to %s', (earlier, later) => {
    const plan = planSchemaChange(schemaOf({ f: fieldOfKind(earlier) }), schemaOf({ f: fieldOfKind(later) }))
    expect(plan.refusals).toEqual([])
  })

  test.each([
    ['string', 'number'],
    ['number', 'timestamp'],
    ['json', 'array'],
    ['array', 'json'],
    ['string', 'enum'],
    ['string', 'richtext'],
  ])('may not change from %s to %s', (earlier, later) => {
    const plan = planSchemaChange(schemaOf({ f: fieldOfKind(earlier) }), schemaOf({ f: fieldOfKind(later) }))
    expect(() => assertNothingRefused(plan)).toThrowError(
      `collections.todos.fields.f: its kind cannot change from ${earlier} to ${later}`,
    )
  })

  test('may get more enum values, and none may go', () => {
    const choice = (enumValues: string[]) => schemaOf({ f: fieldOfKind('enum', { enumValues }) })
    const grown = planSchemaChange(choice(['a']), choice(['a', "b'"]))
    expect(grown).toMatchObject({ steps: [], refusals: [] })
    expect(grown.changes).toEqual([{ collection: 'todos', change: 'field "f" has new values: "b\'"' }])
    expect(planSchemaChange(choice(['a', 'b']), choice(['b'])).refusals[0]?.message).toContain('"a"')
  })

  test('with a new default is shown with it where it is absent', () => {
    const withDefault = (defaultValue: string) => schemaOf({ f: fieldOfKind('string', { defaultValue }) })
    const { steps } = planSchemaChange(withDefault('a'), withDefault("b'"))
    expect(steps.map((step) => step.kind)).toEqual(['set-default', 'fill-columns'])
    expect(steps.flatMap((step) => renderStep(step, 'sqlite'))).toEqual([])
    expect(steps.flatMap((step) => renderStep(step, 'postgres'))).toEqual([
      `alter table "todos" alter column "f" set default 'b'''`,
    ])
  })
})

describe('a collection', () => {
  const both = parseSchema({
    version: 1,
    collections: { todos: { fields: { title } }, notes: { fields: { text: title } } },
  })

  test('that is removed keeps its table, and is replayed when it returns', () => {
    const removed = planSchemaChange(both, schemaOf({ title }))
    expect(removed.steps).toEqual([])
    expect(stepsOf(removed.materialized, both)).toEqual(['create-index', 'replay'])
  })

  test('whose resolver has changed is replayed', () => {
    const withResolver = (n: () => number) => schemaOf({ n: fieldOfKind('number') }, { resolvers: { n } })
    const before = fromJson(withResolver(() => 1))
    expect(
      stepsOf(
        before,
        withResolver(() => 2),
      ),
    ).toEqual(['replay'])
  })

  test('loses an index that is no longer declared', () => {
    expect(stepsOf(schemaOf({ title }, { indexes: ['title'] }), schemaOf({ title }))).toEqual(['drop-index'])
  })
})

test('long text cannot break an index of PostgreSQL', () => {
  const schema = schemaOf({ title, n: fieldOfKind('number') }, { indexes: ['title', 'n'] })
  const statements = planSchemaChange(null, schema)
    .steps.filter((step) => step.kind === 'create-index')
    .flatMap((step) => renderStep(step, 'postgres'))
  expect(statements[0]).toContain('using hash ("title")')
  expect(statements[1]).toContain('("n")')
  expect(statements[1]).not.toContain('hash')
})
