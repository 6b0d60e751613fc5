import { describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { parseSchema } from '../../../src/core/schema/parse-schema.ts'
import { refuseSchemaViolation } from '../../../src/core/schema/validate-operation.ts'
import { withEarlierFields } from '../../../src/store/materialize/earlier-fields.ts'
import { buildOperation } from '../../support/core-builders.ts'

const schema = parseSchema(
  defineSchema({
    version: 3,
    collections: {
      docs: {
        fields: {
          title: t.string(),
          count: t.number().default(0),
          done: t.boolean().optional(),
          at: t.timestamp().auto(),
          level: t.enum(['low', 'high']).optional(),
          tags: t.array(t.string()).optional(),
          settings: t.object({ theme: t.string() }).optional(),
          extra: t.json().optional(),
          file: t.blob().optional(),
          text: t.richtext().optional(),
          pin: t.secret().optional(),
        },
      },
    },
  }),
)

const operation = (parts: Partial<Operation> & Pick<Operation, 'type'>) =>
  buildOperation({ schemaVersion: 3, ...parts })
const verdictOf = (parts: Partial<Operation> & Pick<Operation, 'type'>) =>
  refuseSchemaViolation(operation(parts), schema)
const update = (data: Record<string, unknown>, parts: Partial<Operation> = {}) =>
  verdictOf({ type: 'update', data: data as Operation['data'], ...parts })

describe('what every client can store passes', () => {
  test.each([
    { title: 'x' },
    { count: 1.5 },
    { done: false },
    { at: 1_748_736_000_000 },
    { level: 'high' },
    { tags: [] },
    { settings: { theme: 1, other: [] } },
    { extra: 'any' },
    { extra: { a: [1] } },
    { text: 'plain' },
    { text: { $koraBytes: 'AQID' } },
    { text: { __kora_bytes__: 'AQID' } },
    { text: { $koraBytes: 'AQ==' } },
    { text: { $koraBytes: '+/8=' } },
    { text: { $koraBytes: '' } },
    { text: { 0: 1, 1: 255 } },
    { pin: 'v1.00.11' },
    { file: { hash: 'ab'.repeat(32), size: 3 } },
    { done: null, file: null },
    {},
  ])('update %j', (data) => {
    expect(update(data)).toBeNull()
  })

  test('an insert with what is required', () => {
    expect(verdictOf({ type: 'insert', data: { title: 'x', done: null } })).toBeNull()
  })

  test('a delete, an unknown collection, an encrypted payload', () => {
    expect(verdictOf({ type: 'delete' })).toBeNull()
    expect(update({ anything: {} }, { collection: 'constructor' })).toBeNull()
    expect(update({ __kora_e2e_encrypted: true, v: 1, iv: 'a', ct: 'b', alg: 'aes-256-gcm' })).toBeNull()
  })
})

describe('what would stop clients is refused', () => {
  test.each([
    [{ titel: 'x' }, 'Collection "docs": Unknown field "titel".'],
    [{ title: 5 }, 'docs.title must be a string; it is a number.'],
    [{ title: {} }, 'docs.title must be a string; it is an object.'],
    [{ title: null }, 'docs.title is required and cannot be set to null.'],
    [{ count: '5' }, 'docs.count must be a number'],
    [{ done: 1 }, 'docs.done must be a boolean'],
    [{ level: 'middle' }, 'docs.level must be one of "low", "high"; it is a string that does not fit.'],
    [{ level: 'toString' }, 'docs.level must be one of'],
    [{ tags: { 0: 'a' } }, 'docs.tags must be an array; it is an object.'],
    [{ settings: [] }, 'docs.settings must be an object; it is an array.'],
    [{ file: { hash: '../../etc/passwd', size: 1 } }, 'docs.file must be a reference to a blob'],
    [{ text: {} }, 'docs.text must be a string or the bytes of a document'],
    [{ text: { 0: 256 } }, 'docs.text'],
    [{ text: { $koraBytes: 'AQ==', more: 1 } }, 'docs.text'],
    [{ text: { $koraBytes: '!!' } }, 'docs.text must be a string or the bytes of a document'],
    [{ text: { $koraBytes: 'AQI' } }, 'docs.text'],
    [{ text: { $koraBytes: 'AQ=I' } }, 'docs.text'],
    [{ text: { $koraBytes: '-_8=' } }, 'docs.text'],
    [{ text: { $koraBytes: 'AQ==\n' } }, 'docs.text'],
    [{ text: { __kora_bytes__: 'no base64' } }, 'docs.text'],
    [{ id: 'x' }, 'Unknown field "id"'],
    [JSON.parse('{"__proto__": 1}'), 'Unknown field "__proto__"'],
    [{ constructor: 1 }, 'Unknown field "constructor"'],
  ])('update %j', (data, message) => {
    expect(update(data)).toMatchObject({ code: 'SCHEMA_VIOLATION', retriable: false })
    expect(update(data)?.message).toContain(message)
  })

  test.each([{}, { title: null }])('insert %j without a required field', (data) => {
    expect(verdictOf({ type: 'insert', data })?.message).toBe(
      'docs.title is required and missing from the inserted record.',
    )
  })

  test('a message does not repeat a value', () => {
    expect(update({ count: 'hunter2' })?.message).not.toContain('hunter2')
  })
})

describe('operations of other schema versions', () => {
  test.each([1, 2, 4])('version %i may not clear what is required', (schemaVersion) => {
    expect(update({ title: null }, { schemaVersion })?.code).toBe('SCHEMA_VIOLATION')
  })

  test.each([1, 2, 4])('version %i may carry fields that the schema does not have', (schemaVersion) => {
    expect(verdictOf({ type: 'insert', data: { title: 'x', oldName: 'x' }, schemaVersion })).toBeNull()
  })

  test.each([1, 2, 4])('version %i must bring what clients of the present one require', (schemaVersion) => {
    expect(verdictOf({ type: 'insert', data: { oldName: 'x' }, schemaVersion })?.message).toBe(
      'docs.title is required and missing from the inserted record.',
    )
  })

  test('values of fields that both know must be of their kind', () => {
    expect(update({ title: {} }, { schemaVersion: 1 })).not.toBeNull()
    expect(update({ level: 'gone' }, { schemaVersion: 1 })).not.toBeNull()
  })

  test('nor may a newer version bring an enum value that clients of the present one do not know', () => {
    expect(update({ level: 'urgent' }, { schemaVersion: 4 })).toMatchObject({ code: 'SCHEMA_VIOLATION' })
  })

  test.each(['id', '_deleted', '_version', 'constructor', 'a"b', 'Title'])(
    'no version ever had a field %s',
    (field) => {
      expect(update({ [field]: 1 }, { schemaVersion: 1 })).not.toBeNull()
    },
  )
})

describe('fields and collections that only earlier schemas had', () => {
  const earlier = parseSchema(
    defineSchema({
      version: 2,
      collections: {
        docs: {
          fields: {
            title: t.string(),
            status: t.enum(['open', 'done']).optional(),
            owner: t.string(),
            visits: t.number().default(0),
          },
        },
        notes: { fields: { text: t.string(), stars: t.number().optional() } },
      },
    }),
  )
  const present = withEarlierFields(schema, earlier)
  const verdict = (parts: Partial<Operation> & Pick<Operation, 'type'>) =>
    refuseSchemaViolation(operation({ schemaVersion: 2, ...parts }), present)

  test.each([
    ['docs', { status: 'done', owner: 'Ana' }],
    ['docs', { status: null, visits: null }],
    ['docs', { visits: 3, neverHeardOf: {} }],
    ['notes', { text: 'x', stars: null }],
    ['notes', { neverHeardOf: {}, id: 1 }],
  ])('what devices of their version can store passes: %s %j', (collection, data) => {
    expect(verdict({ type: 'update', collection, data: data as Operation['data'] })).toBeNull()
  })

  test('so does an insert without them, or with null, which is what devices of later versions write', () => {
    expect(verdict({ type: 'insert', data: { title: 'x' }, schemaVersion: 4 })).toBeNull()
    expect(verdict({ type: 'insert', data: { title: 'x', owner: null } })).toBeNull()
    expect(verdict({ type: 'insert', collection: 'notes', data: {} })).toBeNull()
  })

  test.each([
    ['docs', { status: 'anything' }, 'docs.status must be one of "open", "done"; it is a string'],
    ['docs', { owner: 5 }, 'docs.owner must be a string; it is a number.'],
    ['docs', { owner: null }, 'docs.owner is required and cannot be set to null.'],
    ['notes', { text: {} }, 'notes.text must be a string; it is an object.'],
    ['notes', { text: null }, 'notes.text is required and cannot be set to null.'],
  ])('what would stop them is refused, whatever version it names: %s %j', (collection, data, message) => {
    for (const schemaVersion of [1, 2, 4]) {
      const refusal = verdict({ type: 'update', collection, data, schemaVersion })
      expect(refusal).toMatchObject({ code: 'SCHEMA_VIOLATION' })
      expect(refusal?.message).toContain(message)
    }
  })

  test.each([
    ['docs', 'visits', null],
    ['docs', 'owner', 'SCHEMA_VIOLATION'],
    ['docs', 'neverHeardOf', null],
    ['notes', 'stars', null],
    ['notes', 'text', 'SCHEMA_VIOLATION'],
  ])('an atomic operation has to fit: %s.%s', (collection, field, code) => {
    const atomicOps = { [field]: { type: 'increment', value: 1 } } as const
    expect(verdict({ type: 'update', collection, data: {}, atomicOps })?.code ?? null).toBe(code)
  })

  test('the present version still has none of them', () => {
    expect(verdict({ type: 'update', data: { status: 'open' }, schemaVersion: 3 })?.message).toContain(
      'Unknown field "status"',
    )
  })
})

describe('atomic operations', () => {
  const atomic = (
    field: string,
    type: 'increment' | 'append',
    value: unknown,
    data: Record<string, unknown> = {},
  ) => update(data, { atomicOps: { [field]: { type, value: value as never } } })

  test('fit the kind that they leave behind', () => {
    expect(atomic('count', 'increment', 1, { count: 1 })).toBeNull()
    expect(atomic('tags', 'append', 'x', { tags: ['x'] })).toBeNull()
    expect(atomic('extra', 'append', {}, { extra: [{}] })).toBeNull()
  })

  test.each([
    ['title', 'append', 'x'],
    ['count', 'append', 1],
    ['count', 'increment', {}],
    ['tags', 'increment', 1],
    ['unknown', 'increment', 1],
  ] as const)('are refused on %s: %s %j', (field, type, value) => {
    expect(atomic(field, type, value)).toMatchObject({ code: 'SCHEMA_VIOLATION' })
  })
})
