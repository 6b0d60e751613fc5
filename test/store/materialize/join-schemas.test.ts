import { describe, expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { withEarlierFields } from '../../../src/store/materialize/earlier-fields.ts'
import { joinSchemas } from '../../../src/store/materialize/join-schemas.ts'

type Collections = Parameters<typeof defineSchema>[0]['collections']
type Fields = Collections[string]['fields']

const title = t.string()

/** What a store has recorded that had these schemas one after the other. */
function recorded(
  ...versions: readonly (readonly [version: number, collections: Collections])[]
): SchemaDefinition {
  const [first, ...later] = versions.map(([version, collections]) => defineSchema({ version, collections }))
  if (first === undefined) throw new Error('No schema')
  return later.reduce((before, next) => withEarlierFields(next, before), withEarlierFields(first, null))
}

function todos(fields: Fields): Collections {
  return { todos: { fields } }
}

describe('joinSchemas', () => {
  test('changes nothing where both stores have had the same', () => {
    const schema = recorded([1, todos({ title, mood: title })], [2, todos({ title })])

    expect(joinSchemas(schema, schema)).toEqual({ steps: [], materialized: schema, refusals: [] })
  })

  test('joins the older backup of a store to that store without any change', () => {
    const before = recorded([1, todos({ title, mood: title })], [2, todos({ title })])
    const now = withEarlierFields(
      defineSchema({ version: 3, collections: { notes: { fields: { title } } } }),
      before,
    )

    expect(joinSchemas(now, before)).toMatchObject({ steps: [], materialized: now })
  })

  test('makes the columns of what only earlier schemas had, where there are no tables', () => {
    const other = recorded(
      [1, { ...todos({ title, mood: title }), notes: { fields: { title } } }],
      [2, todos({ title })],
    )

    const { steps, materialized } = joinSchemas(null, other)

    const tables = steps.flatMap((step) => (step.kind === 'create-table' ? [step] : []))
    expect(tables.map(({ collection, fields }) => [collection, Object.keys(fields).sort()])).toEqual([
      ['todos', ['mood', 'title']],
      ['notes', ['title']],
    ])
    expect(materialized).toBe(other)
  })

  test('remembers of a forgotten field the form that the values of both fit', () => {
    const own = recorded([1, todos({ title, mood: t.enum(['a']) })], [2, todos({ title })])
    const other = recorded([1, todos({ title, mood: t.enum(['a', 'b']) })])
    const unlike = recorded([1, todos({ title, mood: t.number() })])

    expect(joinSchemas(own, other).materialized.retired?.todos?.mood?.enumValues).toEqual(['a', 'b'])
    expect(joinSchemas(other, own).materialized.collections.todos?.fields.mood?.enumValues).toEqual([
      'a',
      'b',
    ])
    expect(() => joinSchemas(own, unlike)).toThrow('collections.todos.fields.mood: its kind cannot change')
  })

  test('holds the store to what the backup remembers, also of fields that it has no more itself', () => {
    const other = recorded([1, todos({ title, mood: t.number() })], [2, todos({ title })])

    expect(() => joinSchemas(recorded([3, todos({ title, mood: title })]), other)).toThrow(
      expect.objectContaining({ code: 'SCHEMA_CHANGE_REFUSED' }),
    )
  })

  test('refuses names that the database could not tell apart, and more columns than a table holds', () => {
    const own = recorded([1, todos({ title })])
    const wide = Object.fromEntries(Array.from({ length: 1500 }, (_, index) => [`f${index}`, title]))

    expect(() => joinSchemas(own, recorded([1, { Todos: { fields: { title } } }]))).toThrow(
      'differs only by case',
    )
    expect(() => joinSchemas(own, recorded([1, todos({ tITLE: title })]))).toThrow('differs only by case')
    expect(() => joinSchemas(own, recorded([1, todos(wide)]))).toThrow('would have 1501 columns')
  })

  test('makes the table of a forgotten collection again, which may have been dropped, before it adds a column', () => {
    const own = recorded([1, { ...todos({ title }), notes: { fields: { title } } }], [2, todos({ title })])
    const other = recorded([1, { notes: { fields: { title, text: title } } }])

    expect(joinSchemas(own, other).steps).toMatchObject([
      { kind: 'create-table', collection: 'notes', fields: { title: { kind: 'string' } } },
      { kind: 'add-column', collection: 'notes', field: 'text' },
    ])
  })

  test('keeps every version of the store, and the newest of the backup beside them', () => {
    const own = recorded(...Array.from({ length: 16 }, (_, i) => [i + 1, todos({ title })] as const))
    const other = recorded(
      ...Array.from({ length: 30 }, (_, i) => [i + 1, todos({ title, mood: title })] as const),
    )

    const { otherVersions = {} } = joinSchemas(own, other).materialized

    expect(Object.keys(otherVersions).map(Number)).toEqual(
      [...Array(15).keys()].map((i) => i + 1).concat([26, 27, 28, 29, 30]),
    )
    expect(otherVersions[1]).toEqual({ todos: ['title'] })
    expect(otherVersions[30]).toEqual({ todos: ['title', 'mood'] })
  })
})
