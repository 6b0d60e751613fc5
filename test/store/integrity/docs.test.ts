import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import {
  MAX_AFFECTED_RECORDS,
  MAX_CASCADE_DEPTH,
  MAX_SIDE_EFFECTS,
} from '../../../src/store/integrity/references.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'

const page = readFileSync(fileURLToPath(new URL('../../../docs/constraints.md', import.meta.url)), 'utf8')

test('docs/constraints.md states the limits that hold', () => {
  expect(page).toContain(`at most ${MAX_AFFECTED_RECORDS.toLocaleString('en')} other records`)
  expect(page).toContain(`at most ${MAX_CASCADE_DEPTH.toLocaleString('en')} levels`)
  expect(page).toContain(`come to ${MAX_SIDE_EFFECTS.toLocaleString('en')} such changes ends there`)
})

test('the schema of docs/constraints.md does what the page says', async () => {
  const [, code = ''] = /```ts\n.*?export default (.*?)\n```/s.exec(page) ?? []
  const schema = new Function('defineSchema', 't', `return ${code}`)(defineSchema, t) as SchemaDefinition
  const store = new MemoryServerStore()
  await store.setSchema(schema)
  const author = new OperationAuthor('a')
  const book = (id: string, status: string, roomId = 'r1') =>
    author.insert(id, { roomId, slot: 'monday', status }, { collection: 'bookings' })
  const set = (id: string, status: string) => author.update(id, { status }, { collection: 'bookings' })

  expect(
    await appendAll(store, [
      author.insert('r1', { name: 'Oslo' }, { collection: 'rooms' }),
      book('b1', 'asked'),
      book('b2', 'asked'),
      book('b3', 'asked', 'nowhere'),
      set('b1', 'confirmed'),
      set('b2', 'confirmed'),
      set('b1', 'asked'),
      set('b1', 'cancelled'),
      set('b2', 'confirmed'),
      author.delete('r1', { collection: 'rooms' }),
    ]),
  ).toEqual([
    'applied',
    'applied',
    'applied',
    'CONSTRAINT_VIOLATION',
    'applied',
    'CONSTRAINT_VIOLATION',
    'CONSTRAINT_VIOLATION',
    'applied',
    'applied',
    'applied',
  ])
  expect(await store.countCollection('bookings')).toBe(0)
})
