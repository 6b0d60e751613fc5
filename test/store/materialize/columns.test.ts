import { describe, expect, test } from 'vitest'
import type { JsonValue } from '../../../src/core/operation.ts'
import { columnOf, encodeFilterValue, type SqlDialect } from '../../../src/store/materialize/columns.ts'
import { fieldOfKind } from '../../support/schema-builders.ts'

const DIALECTS = ['sqlite', 'postgres'] as const
const KINDS = [
  'string',
  'number',
  'boolean',
  'timestamp',
  'richtext',
  'enum',
  'array',
  'object',
  'json',
  'blob',
  'secret',
  'geo',
]
const ODD_VALUES: readonly JsonValue[] = [
  'text',
  '',
  'a\0b',
  '\ud800 half',
  '\u{1f600} whole',
  5,
  1.5,
  -0,
  1e21,
  Number.MAX_VALUE,
  true,
  false,
  [],
  [1, 'x\0', null],
  {},
  { b: 1, 'a\0': '\udc00', c: '\\u0000' },
  { $koraBytes: 'AQIDBA==' },
  { $koraBytes: '!' },
  { __kora_bytes__: 5 },
  { 300000000: 1 },
]

/** What `pg` hands back for what it was given: it parses jsonb, and bigint comes as text. */
function asFromDriver(dialect: SqlDialect, sqlType: string, stored: unknown): unknown {
  if (dialect === 'sqlite' || stored === null) return stored
  if (sqlType === 'jsonb') return JSON.parse(String(stored))
  return sqlType === 'bigint' ? String(stored) : stored
}

describe.each(KINDS)('a column of kind %s', (kind) => {
  test.each(ODD_VALUES)('shows %j the same on both databases', (value) => {
    const shown = DIALECTS.map((dialect) => {
      const column = columnOf('f', fieldOfKind(kind), dialect)
      return column.decode(asFromDriver(dialect, column.sqlType, column.encode(value)))
    })
    expect(shown[1]).toEqual(shown[0])
    expect(columnOf('f', fieldOfKind(kind), 'sqlite').show(value)).toEqual(shown[0])
  })

  test('holds no text that PostgreSQL refuses', () => {
    const column = columnOf('f', fieldOfKind(kind), 'postgres')
    for (const value of ODD_VALUES) {
      const stored = column.encode(value)
      if (typeof stored !== 'string') continue
      expect(stored).not.toContain('\0')
      if (column.sqlType === 'jsonb')
        expect(JSON.stringify(JSON.parse(stored))).not.toMatch(/[^\\]\\u(0000|d[89a-f])/)
    }
  })

  test('shows the default when the field is absent, and null when it is null', () => {
    const column = columnOf('f', fieldOfKind('string', { defaultValue: "it's" }), 'sqlite')
    expect(column.encode(undefined)).toBe("it's")
    expect(column.encode(null)).toBeNull()
  })
})

describe('odd values', () => {
  test.each([
    ['string', 5, '5'],
    ['string', { a: 1 }, '{"a":1}'],
    ['number', '5', null],
    ['number', -0, 0],
    ['boolean', 1, null],
    ['timestamp', 1.9, 1],
    ['timestamp', 1e300, null],
    ['json', { b: 1, a: 2 }, { a: 2, b: 1 }],
  ] satisfies [string, JsonValue, JsonValue][])('%s shows %j as %j', (kind, value, shown) => {
    expect(columnOf('f', fieldOfKind(kind), 'sqlite').show(value)).toEqual(shown)
  })

  test('a value that is damaged is reported, not served', () => {
    const column = columnOf('f', fieldOfKind('json'), 'sqlite')
    expect(() => column.decode('{"a":')).toThrowError(expect.objectContaining({ code: 'STORE_CORRUPT' }))
  })
})

describe('rich text in bytea', () => {
  const column = columnOf('f', fieldOfKind('richtext'), 'postgres')
  const asBase64 = (bytes: Uint8Array) => ({ $koraBytes: Buffer.from(bytes).toString('base64') })

  test.each([
    [[]],
    [[0]],
    [[0, 0]],
    [[1, 2, 3, 4]],
    [[0xff]],
    [[...Buffer.from('plain')]],
    [[...Buffer.from('\0bytes\0')]],
    [[...Buffer.from('\0bytes\0more')]],
  ])('keeps the bytes %j', (bytes) => {
    const value = Uint8Array.from(bytes)
    expect(column.decode(column.encode(asBase64(value)))).toEqual(value)
  })

  test('text can be read in SQL', () => {
    expect(Buffer.from(column.encode('grüße') as Uint8Array).toString()).toBe('grüße')
  })
})

describe('filters', () => {
  test.each([
    ['string', 5],
    ['string', ['a']],
    ['number', '5'],
    ['timestamp', 1.5],
    ['boolean', 'true'],
    ['boolean', 1],
  ] satisfies [string, JsonValue][])('no record of a %s field equals %j', (kind, value) => {
    expect(encodeFilterValue(columnOf('f', fieldOfKind(kind), 'sqlite'), value)).toBeUndefined()
  })

  test('objects are compared whatever the order of their keys', () => {
    const column = columnOf('f', fieldOfKind('json'), 'sqlite')
    expect(encodeFilterValue(column, { b: 1, a: 2 })).toBe(encodeFilterValue(column, { a: 2, b: 1 }))
  })
})
