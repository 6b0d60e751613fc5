import { describe, expect, test } from 'vitest'
import {
  collectionNameProblem,
  fieldNameProblem,
  findCaseCollisions,
  nearestName,
  unknownName,
} from '../../../src/core/schema/names.ts'

describe('unknownName', () => {
  test('lists the valid names and suggests the nearest', () => {
    expect(unknownName('collection', 'todo', ['todos', 'projects'])).toBe(
      'Unknown collection "todo". The schema has: projects, todos. Did you mean "todos"?',
    )
  })

  test('suggests nothing when nothing is near', () => {
    expect(unknownName('field', 'zzzzzz', ['title'])).toBe(
      'Unknown field "zzzzzz". The collection has: title.',
    )
  })

  test('keeps the message short and printable whatever the name is', () => {
    const message = unknownName(
      'field',
      `\u0000\n${'x'.repeat(100_000)}`,
      Array.from({ length: 500 }, (_, i) => `f${i}`),
    )
    expect(message.length).toBeLessThan(400)
    expect(message).not.toContain('\n')
    expect(message).toContain('and 480 more')
  })

  test.each([
    ['Title', 'title'],
    ['tilte', 'title'],
    ['userid', 'userId'],
  ])('takes %s for %s', (name, nearest) => {
    expect(nearestName(name, ['title', 'userId', 'done'])).toBe(nearest)
  })
})

describe('names of collections', () => {
  test.each(['todos', 'UserProfiles', 'order', 'A1_b', 'a'.repeat(63)])('accepts %s', (name) => {
    expect(collectionNameProblem(name)).toBeNull()
  })

  test.each([
    '__proto__',
    'constructor',
    'prototype',
    '_kora_log',
    'sqlite_master',
    'SQLITE_x',
    'pg_class',
    'PG_class',
    'a-b',
    'a"b',
    "a'b",
    'a b',
    '1a',
    '',
    'tödos',
    'a\0b',
    'a'.repeat(64),
  ])('refuses %j', (name) => {
    expect(collectionNameProblem(name)).not.toBeNull()
  })
})

describe('names of fields', () => {
  test.each(['title', 'select', 'camelCase9_x', 'pg_rating', 'rowid'])('accepts %s', (name) => {
    expect(fieldNameProblem(name)).toBeNull()
  })

  test.each([
    'id',
    'iD',
    '_deleted',
    '_version',
    'Title',
    'constructor',
    'prototype',
    '__proto__',
    'xmin',
    'ctid',
  ])('refuses %s', (name) => {
    expect(fieldNameProblem(name)).not.toBeNull()
  })
})

test('names that differ only by case are found', () => {
  expect(findCaseCollisions(['todos', 'Todos', 'other', 'TODOS'])).toEqual([
    { name: 'Todos', earlier: 'todos' },
    { name: 'TODOS', earlier: 'todos' },
  ])
})
