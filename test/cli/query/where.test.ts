import { describe, expect, test } from 'vitest'
import { parseWhere } from '../../../src/cli/query/where.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'

const todos = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean(),
        estimate: t.number(),
        dueAt: t.timestamp(),
        tags: t.array(t.string()),
        status: t.enum(['open', 'closed']),
      },
    },
  },
}).collections.todos

function parse(...flags: string[]) {
  if (todos === undefined) throw new Error('no collection')
  return { ...parseWhere(flags, todos) }
}

describe('parseWhere', () => {
  test('reads a value by the kind of its field', () => {
    expect(
      parse(
        'title=42',
        'done=true',
        'estimate=1.5',
        'dueAt=2025-06-01T00:00:00Z',
        'tags=["a"]',
        'status=open',
      ),
    ).toEqual({ title: '42', done: true, estimate: 1.5, dueAt: 1748736000000, tags: ['a'], status: 'open' })
  })

  test('takes everything behind the first sign as the value', () => {
    expect(parse('title=a=b:=c')).toEqual({ title: 'a=b:=c' })
    expect(parse('title=two\nlines')).toEqual({ title: 'two\nlines' })
  })

  test('reads an empty value as the empty string', () => {
    expect(parse('title=')).toEqual({ title: '' })
  })

  test('reads := as JSON of any kind', () => {
    expect(parse('title:=null', 'estimate:=-0.5', 'done:=false')).toEqual({
      title: null,
      estimate: -0.5,
      done: false,
    })
  })

  test('reads := also as a value that an enum had once', () => {
    expect(parse('status:="archived"')).toEqual({ status: 'archived' })
  })

  test('takes milliseconds for a timestamp', () => {
    expect(parse('dueAt=1748736000000', '_updated_at=5', 'id=7')).toEqual({
      dueAt: 1748736000000,
      _updated_at: 5,
      id: '7',
    })
  })

  test.each([
    ['titel=x', /Unknown field "titel".*Did you mean "title"\?/],
    ['constructor=x', /Unknown field "constructor"/],
    ['title', /"title" is not a condition/],
    ['done=yes', /"done" is a boolean; write true or false, not "yes"/],
    ['estimate=many', /"estimate" is a number; "many" is not one/],
    ['dueAt=soon', /neither milliseconds since 1970 nor a date/],
    ['dueAt=foo 12', /neither milliseconds since 1970 nor a date/],
    ['dueAt=01/02/2025', /neither milliseconds since 1970 nor a date/],
    ['dueAt=2026-02-31', /neither milliseconds since 1970 nor a date/],
    ['status=opne', /"status" is one of open, closed, not "opne"/],
    ['title:=open', /not valid JSON: open\. Texts need quotes/],
  ])('refuses %s', (flag, message) => {
    expect(() => parse(flag)).toThrow(message)
  })

  test('refuses a field that is given twice', () => {
    expect(() => parse('title=a', 'title=b')).toThrow('Field "title" is given twice')
  })
})
