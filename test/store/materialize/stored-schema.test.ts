import { expect, test } from 'vitest'
import {
  parsePendingWork,
  parseStoredSchema,
  serializeStoredSchema,
} from '../../../src/store/materialize/stored-schema.ts'
import { todoSchema } from '../../support/todo-schema.ts'

test('a schema comes back as it was, also one that was written without a checksum', () => {
  expect(parseStoredSchema(serializeStoredSchema(todoSchema))).toEqual(todoSchema)
  expect(parseStoredSchema(JSON.stringify(todoSchema))).toEqual(todoSchema)
})

test('a schema of which any bit is another is damaged, or what it was', () => {
  const stored = Buffer.from(serializeStoredSchema(todoSchema))
  let refused = 0
  for (let bit = 0; bit < stored.length * 8; bit++) {
    const damaged = Buffer.from(stored)
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    try {
      expect(parseStoredSchema(damaged.toString())).toEqual(todoSchema)
    } catch (error) {
      expect(error, `bit ${bit}`).toMatchObject({ code: 'STORE_CORRUPT' })
      refused++
    }
  }
  expect(refused).toBeGreaterThan(stored.length * 8 - 100) // in the name of the checksum alone it does not matter
})

test('a schema that breaks the rules is called damaged only where its checksum says so', () => {
  const newer = serializeStoredSchema({ ...todoSchema, version: 0.5 })

  expect(() => parseStoredSchema(newer)).toThrow(
    expect.objectContaining({
      code: 'SCHEMA_INVALID',
      message: expect.stringContaining('The schema that the database holds breaks rules of this release'),
    }),
  )
  expect(() => parseStoredSchema(newer.replace('0.5', '0.6'))).toThrow(
    expect.objectContaining({ code: 'STORE_CORRUPT', message: expect.stringContaining('checksum') }),
  )
  expect(() => parseStoredSchema(newer.replace(/,"crc32":\d+/, ''))).toThrow(
    expect.objectContaining({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining('cannot be read by this release, or is damaged ('),
    }),
  )
})

test.each(['[', '{}', '[null]', '[{"collection":"todos"}]'])(
  'work of a change that is "%s" is damaged',
  (stored) => {
    expect(() => parsePendingWork(stored)).toThrow(
      expect.objectContaining({
        code: 'STORE_CORRUPT',
        message: expect.stringContaining('"schema_change" in _kora_meta is damaged'),
      }),
    )
  },
)

test('work of a change comes back as it was', () => {
  const work = {
    collection: 'todos',
    phase: 'backfill',
    replays: true,
    doneThrough: 7,
    recordsDone: 3,
    recordsTotal: null,
  }
  expect(parsePendingWork(JSON.stringify([work]))).toEqual([work])
  expect(parsePendingWork(null)).toEqual([])
})
