import { describe, expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { schemaFingerprint } from '../../../src/core/schema/fingerprint.ts'
import { parseSchema } from '../../../src/core/schema/parse-schema.ts'

const minimal = { version: 1, collections: { todos: { fields: { title: { kind: 'string' } } } } }

test('fills in every part that an older or hand-made schema lacks', () => {
  expect(parseSchema(minimal)).toEqual({
    version: 1,
    collections: {
      todos: {
        fields: {
          title: {
            kind: 'string',
            required: true,
            defaultValue: undefined,
            auto: false,
            enumValues: null,
            itemKind: null,
            mergeStrategy: null,
            transitions: null,
          },
        },
        indexes: [],
        constraints: [],
        resolvers: {},
        scope: [],
        stateMachine: undefined,
      },
    },
    relations: {},
    migrations: {},
  })
})

test('keeps kinds of later releases and ignores what else they add', () => {
  const schema = parseSchema({
    version: 2,
    extra: true,
    collections: {
      todos: { fields: { where: { kind: 'geo', srid: 4326, mergeStrategy: 'nearest' } }, ttl: 5 },
    },
  })
  expect(schema.collections.todos?.fields.where).toMatchObject({ kind: 'geo', mergeStrategy: null })
})

test('a look-up finds only what the schema declares', () => {
  const schema = parseSchema(minimal)
  expect(schema.collections.constructor).toBeUndefined()
  expect(schema.collections.todos?.fields.toString).toBeUndefined()
})

describe.each([
  { what: 'half of a surrogate pair', value: 'x\ud83d', kept: 'x\ufffd' },
  { what: 'U+0000', value: ['a\0'], kept: ['a\ufffd'] },
  {
    what: 'the key "__proto__"',
    value: JSON.parse('{"__proto__":1,"a":{"b\\u0000":2}}'),
    kept: { a: { 'b\ufffd': 2 } },
  },
  { what: 'too many levels', value: nestedLists(32), kept: nestedLists(31, [null]) },
])('a default that no operation may hold: $what', ({ value, kept }) => {
  const withDefault = (defaultValue: unknown) => ({
    version: 1,
    collections: {
      todos: { fields: { a: { kind: 'json', nestedFields: { b: { kind: 'json', defaultValue } } } } },
    },
  })

  test('is refused', () => {
    expect(() => parseSchema(withDefault(value))).toThrow(
      /^The schema has 1 problem:\ncollections\.todos\.fields\.a\.nestedFields\.b\.defaultValue: must be a value that operations may hold: /,
    )
  })

  test('is replaced where a store holds it already', () => {
    const schema = parseSchema(withDefault(value), { isStored: true })

    expect(schema.collections.todos?.fields.a?.nestedFields?.b?.defaultValue).toEqual(kept)
    expect(parseSchema(schema)).toEqual(schema)
  })
})

/** The innermost one is empty, or `core`. */
function nestedLists(levels: number, core: unknown[] = []): unknown {
  return levels <= 1 ? core : [nestedLists(levels - 1, core)]
}

test('null is a default, undefined is none', () => {
  const schema = parseSchema({
    version: 1,
    collections: { todos: { fields: { a: { kind: 'string', defaultValue: null }, b: { kind: 'string' } } } },
  })
  expect(schema.collections.todos?.fields.a).toMatchObject({ defaultValue: null, required: false })
  expect(schema.collections.todos?.fields.b).toMatchObject({ defaultValue: undefined, required: true })
})

test('lists every problem with its path', () => {
  const parse = () =>
    parseSchema({
      version: 0,
      collections: {
        todos: {
          fields: {
            title: { kind: 'string' },
            Title: { kind: 'string' },
            x: 5,
            e: { kind: 'enum', enumValues: 'ab' },
          },
          indexes: ['titel'],
          constraints: [{ type: 'unique', fields: ['nope'] }],
        },
        Todos: { fields: {} },
      },
      relations: { r: { from: 'todos', to: 'projects', field: 'title' } },
      sync: { todos: { where: { title: false } } },
    })
  expect(parse).toThrowErrorMatchingInlineSnapshot(`
    [SchemaError: The schema has 11 problems:
    collections.todos.fields.Title: must start with a lower-case letter and hold only letters, digits and "_"
    collections.todos.fields.x: is not a field; use one of the builders of \`t\`
    collections.todos.fields.e.enumValues: must be a list of strings
    collections.todos.fields.Title: differs from "title" only by case; SQL tables cannot hold both
    collections.todos.indexes[0]: Unknown field "titel". The collection has: Title, e, title. Did you mean "title"?
    collections.todos.constraints[0].fields[0]: Unknown field "nope". The collection has: Title, e, title.
    collections.Todos.fields: must be an object with at least one field
    collections.Todos: differs from "todos" only by case; SQL tables cannot hold both
    sync.todos.where.title: must be true or the name of a scope value
    version: must be a whole number from 1
    relations.r.to: Unknown collection "projects". The schema has: Todos, todos.]
  `)
})

describe('constraints', () => {
  const withConstraint = (constraint: object) => ({
    version: 1,
    collections: {
      rooms: { fields: { name: { kind: 'string' } } },
      bookings: { fields: { roomId: { kind: 'string' } }, constraints: [constraint] },
    },
  })
  const path = 'collections.bookings.constraints[0]'

  test.each([
    [{ fields: [], where: { collection: 'rooms' } }, `${path}.fields: must name at least one field`],
    [{ fields: ['roomId'] }, `${path}.where.collection: must name the collection that is referred to`],
    [
      { fields: ['roomId'], where: { collection: 'room' } },
      `${path}.where.collection: Unknown collection "room". The schema has: bookings, rooms. Did you mean "rooms"?`,
    ],
  ])('a referential one that nothing could keep is refused: %j', (parts, problem) => {
    const schema = withConstraint({ type: 'referential', ...parts })
    expect(() => parseSchema(schema)).toThrowError(problem)
  })

  test('a reference that a store has let in does not keep it from being opened', () => {
    const where = { collection: 'room' }
    const stored = withConstraint({ type: 'referential', fields: ['roomId'], where })

    const schema = parseSchema(stored, { isStored: true })

    expect(schema.collections.bookings?.constraints[0]?.where).toEqual(where)
  })
})

test.each([null, undefined, 5, 'x', [], {}, { collections: [] }, { version: 1, collections: { a: null } }])(
  'refuses %j with a SchemaError',
  (value) => {
    expect(() => parseSchema(value)).toThrowError(expect.objectContaining({ code: 'SCHEMA_INVALID' }))
  },
)

test('refuses fields of __proto__ and changes no prototype', () => {
  const hostile = JSON.parse(
    '{"version":1,"collections":{"__proto__":{"fields":{"__proto__":{"kind":"string"}}},"a":{"fields":{"constructor":{"kind":"string"}}}}}',
  )
  expect(() => parseSchema(hostile)).toThrowError(/reserved name/)
  expect(Object.keys(Object.prototype)).toEqual([])
})

describe('schemaFingerprint', () => {
  const withResolver = (resolve: () => number) =>
    defineSchema({ version: 1, collections: { c: { fields: { n: t.number() }, resolve: { n: resolve } } } })

  test('is the same for a schema and for what JSON keeps of it', () => {
    const schema = parseSchema(withResolver(() => 1))
    expect(schemaFingerprint(parseSchema(JSON.parse(JSON.stringify(schema))))).toBe(schemaFingerprint(schema))
  })

  test('does not depend on the order of declaration', () => {
    const one = defineSchema({ version: 1, collections: { c: { fields: { a: t.string(), b: t.json() } } } })
    const two = defineSchema({ version: 1, collections: { c: { fields: { b: t.json(), a: t.string() } } } })
    expect(schemaFingerprint(one)).toBe(schemaFingerprint(two))
  })

  test('tells no default from null', () => {
    const none = defineSchema({ version: 1, collections: { c: { fields: { a: t.string().optional() } } } })
    const nothing = defineSchema({
      version: 1,
      collections: { c: { fields: { a: t.string().default(null) } } },
    })
    expect(schemaFingerprint(none)).not.toBe(schemaFingerprint(nothing))
  })

  test('sees that a resolver has changed', () => {
    expect(schemaFingerprint(withResolver(() => 1))).not.toBe(schemaFingerprint(withResolver(() => 2)))
  })
})
