import { describe, expect, test } from 'vitest'
import { Doc, encodeStateAsUpdate } from 'yjs'
import '../../support/prepare-rich-text.ts'
import type { JsonValue, Operation } from '../../../src/core/operation.ts'
import { decodeBytes, encodeBytes } from '../../../src/core/record/binary-values.ts'
import { parseRecordState, serializeRecordState } from '../../../src/core/record/codec.ts'
import { applyOperation, foldOperation, replayRecord } from '../../../src/core/record/fold.ts'
import { readRichText } from '../../../src/core/record/richtext.ts'
import type { RecordState } from '../../../src/core/record/state.ts'
import type { CollectionDefinition, Resolver } from '../../../src/core/schema/types.ts'
import { buildCollection, buildField, buildOperation, timestampAt } from '../../support/core-builders.ts'

const collection = buildCollection({
  title: buildField({ kind: 'string' }),
  count: buildField({ kind: 'number', mergeStrategy: 'counter' }),
  best: buildField({ kind: 'number', mergeStrategy: 'max' }),
  tags: buildField({ kind: 'array', defaultValue: ['new'] }),
  meta: buildField({ kind: 'json' }),
  body: buildField({ kind: 'richtext' }),
})

type Values = { [field: string]: JsonValue }

function insertAt(wallTime: number, data: Values): Operation {
  return buildOperation({ type: 'insert', data, timestamp: timestampAt(wallTime) })
}

function updateAt(
  wallTime: number,
  data: Values,
  previousData: Values,
  parts: Partial<Operation> = {},
): Operation {
  return buildOperation({ type: 'update', data, previousData, timestamp: timestampAt(wallTime), ...parts })
}

function deleteAt(wallTime: number): Operation {
  return buildOperation({ type: 'delete', timestamp: timestampAt(wallTime) })
}

function valuesOf(
  operations: readonly Operation[],
  definition: CollectionDefinition | null = collection,
): Values {
  return { ...replayRecord(operations, definition)?.values }
}

describe('numeric strategies of scalars', () => {
  const insert = insertAt(1, { count: 10, best: 5, tags: ['a'] })

  test('act when the same update merges another field', () => {
    const values = valuesOf([
      insert,
      updateAt(2, { count: 15, best: 9, tags: ['a', 'x'] }, { count: 10, best: 5, tags: ['a'] }),
      updateAt(3, { count: 12, best: 7, tags: ['a', 'y'] }, { count: 10, best: 5, tags: ['a'] }),
    ])

    expect(values).toEqual({ count: 17, best: 9, tags: ['a', 'x', 'y'] })
  })

  test('act on what the update alone has changed, too', () => {
    const values = valuesOf([
      insert,
      updateAt(2, { tags: ['a', 'x'] }, { tags: ['a'] }),
      updateAt(3, { best: 3, count: 12, tags: ['a', 'y'] }, { best: 5, count: 10, tags: ['a'] }),
    ])

    expect(values).toEqual({ count: 12, best: 5, tags: ['a', 'x', 'y'] })
  })

  test('act when the conflict is in a field that the update writes atomically', () => {
    const append = (item: string) => ({ atomicOps: { tags: { type: 'append', value: item } } }) as const
    const values = valuesOf([
      insert,
      updateAt(2, { count: 12, tags: ['a', 'x'] }, { count: 10, tags: ['a'] }, append('x')),
      updateAt(3, { count: 15, tags: ['a', 'y'] }, { count: 10, tags: ['a'] }, append('y')),
    ])

    expect(values).toEqual({ count: 17, best: 5, tags: ['a', 'x', 'y'] })
  })

  test('do not act without a conflict in a merged field', () => {
    const values = valuesOf([
      insert,
      updateAt(2, { count: 15 }, { count: 10 }),
      updateAt(3, { count: 12, tags: ['a', 'y'] }, { count: 10, tags: ['a'] }),
    ])

    expect(values).toEqual({ count: 12, best: 5, tags: ['a', 'y'] })
  })
})

describe('conflicts', () => {
  test('a field that is missing equals null, and the default that clients show', () => {
    const fromNull = [insertAt(1, { title: 't' }), updateAt(2, { meta: 5 }, { meta: null })]
    const fromDefault = [insertAt(1, { title: 't' }), updateAt(2, { tags: ['z', 'b'] }, { tags: ['new'] })]

    expect(valuesOf(fromNull)).toEqual({ title: 't', meta: 5 })
    expect(valuesOf(fromDefault)).toEqual({ title: 't', tags: ['z', 'b'] })
  })

  test('an author that knew nothing of the default is merged with it', () => {
    const operations = [insertAt(1, { title: 't' }), updateAt(2, { tags: ['work'] }, {})]

    expect(valuesOf(operations)).toEqual({ title: 't', tags: ['new', 'work'] })
  })

  test('an update that finds the record deleted is not merged', () => {
    const operations = [
      insertAt(1, { tags: ['a'] }),
      updateAt(2, { tags: ['a', 'x'] }, { tags: ['a'] }),
      deleteAt(3),
      updateAt(4, { tags: ['a', 'y'] }, { tags: ['a'] }),
    ]

    expect(valuesOf(operations)).toEqual({ tags: ['a', 'y'] })
  })

  test('names that objects inherit are fields like others', () => {
    const operations = [insertAt(1, { title: 't' }), updateAt(2, { constructor: 1, toString: 'x' }, {})]

    expect(Object.entries(valuesOf(operations))).toEqual([
      ['title', 't'],
      ['constructor', 1],
      ['toString', 'x'],
    ])
  })

  test('deeply nested objects are merged without exhausting the stack', () => {
    const nest = (leaf: Values, depth: number): Values => {
      let value = leaf
      for (let level = 0; level < depth; level++) value = { x: value }
      return value
    }
    const operations = [
      insertAt(1, { meta: nest({ a: 1, b: 1 }, 30) }),
      updateAt(2, { meta: nest({ a: 2, b: 1 }, 30) }, { meta: nest({ a: 1, b: 1 }, 30) }),
      updateAt(3, { meta: nest({ a: 1, b: 2 }, 30) }, { meta: nest({ a: 1, b: 1 }, 30) }),
    ]
    expect(valuesOf(operations)).toEqual({ meta: nest({ a: 2, b: 2 }, 30) })

    const bottomless = [1, 2, 3].map((leaf) => nest({ leaf }, 20_000))
    const [base = {}, local = {}, remote = {}] = bottomless
    const hostile = [
      insertAt(1, { meta: base }),
      updateAt(2, { meta: local }, { meta: base }),
      updateAt(3, { meta: remote }, { meta: base }),
    ]
    expect(() => valuesOf(hostile)).not.toThrow()
  })
})

describe('custom resolvers', () => {
  const conflict = [
    insertAt(1, { title: 'o' }),
    updateAt(2, { title: 'l' }, { title: 'o' }),
    updateAt(3, { title: 'r' }, { title: 'o' }),
  ]
  const withResolver = (title: Resolver): CollectionDefinition =>
    buildCollection({ title: buildField({ kind: 'string' }) }, { resolvers: { title } })

  test('are asked with both values and the one that the author saw', () => {
    const resolver: Resolver = (local, remote, base) => `${local}${remote}${base}`
    expect(valuesOf(conflict, withResolver(resolver))).toEqual({ title: 'lro' })
  })

  test.each<[string, Resolver]>([
    ['throws', () => JSON.parse('{')],
    ['returns nothing', () => undefined as unknown as JsonValue],
    ['returns what JSON cannot carry', () => 1n as unknown as JsonValue],
  ])('one that %s leaves the later value', (_name, resolver) => {
    expect(valuesOf(conflict, withResolver(resolver))).toEqual({ title: 'r' })
  })
})

describe('rich text', () => {
  const text = (content: string, clientId: number): JsonValue => {
    const document = new Doc()
    document.clientID = clientId
    document.getText('content').insert(0, content)
    return encodeBytes(encodeStateAsUpdate(document))
  }

  test('equal text of another history is no conflict', () => {
    const operations = [
      insertAt(1, { body: text('base', 1) }),
      updateAt(2, { body: text('next', 3) }, { body: text('base', 2) }),
    ]

    expect(readRichText(valuesOf(operations).body)).toBe('next')
  })

  test.each<[string, JsonValue]>([
    ['bytes that are no document', { $koraBytes: 'AAECAwQFBgc=' }],
    [
      'a document that claims two billion parts',
      { $koraBytes: Buffer.from([1, 255, 255, 255, 255, 7, 1, 0]).toString('base64') },
    ],
    ['a number', 7],
  ])('of %s, the later value stands', (_name, body) => {
    const operations = [
      insertAt(1, { body: text('base', 1) }),
      updateAt(2, { body: text('other', 2) }, { body: text('base', 1) }),
      updateAt(3, { body }, { body: text('base', 1) }),
    ]

    expect(valuesOf(operations)).toEqual({ body })
    expect(readRichText(body)).toBeNull()
  })

  test('bytes are read in every form, and a sparse object is none', () => {
    expect(decodeBytes({ $koraBytes: 'AQID' })).toEqual(Buffer.from([1, 2, 3]))
    expect(decodeBytes({ __kora_bytes__: 'AQID' })).toEqual(Buffer.from([1, 2, 3]))
    expect(decodeBytes({ 0: 1, 1: 2 })).toEqual(new Uint8Array([1, 2]))
    expect(decodeBytes({ 300000000: 1 })).toBeNull()
    expect(decodeBytes({ 0: 256 })).toBeNull()
  })
})

describe('end-to-end encryption', () => {
  const sealed: Values = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

  test('an encrypted update revives the record, marks it and leaves its fields', () => {
    const state = replayRecord(
      [insertAt(1, { title: 'a' }), deleteAt(2), updateAt(3, sealed, sealed)],
      collection,
    )

    expect(state).toMatchObject({ isEncrypted: true, isDeleted: false, updatedAt: 3 })
    expect(state?.values).toEqual({ title: 'a' })
  })

  test('an encrypted insert leaves none', () => {
    const state = replayRecord([insertAt(1, { title: 'a' }), insertAt(2, sealed)], collection)

    expect(state).toMatchObject({ isEncrypted: true, isDeleted: false })
    expect(state?.values).toEqual({})
  })

  test('an insert in the clear replaces what was encrypted', () => {
    const anew = insertAt(4, { title: 'b' })
    const operations = [insertAt(1, { title: 'a' }), updateAt(2, sealed, sealed), deleteAt(3)]

    expect(replayRecord([...operations, anew], collection)).toMatchObject({ isEncrypted: false })
    expect(replayRecord([...operations, anew, updateAt(5, sealed, sealed)], collection)).toMatchObject({
      values: { title: 'b' },
      isEncrypted: true,
    })
  })

  test('nobody knows what fields without a value hold, unless the newest insert is in the clear', () => {
    const hide = updateAt(3, sealed, sealed)
    const isSealed = (operations: Operation[]) => replayRecord(operations, collection)?.isSealed

    expect(isSealed([insertAt(1, sealed), updateAt(2, { title: 'a' }, {})])).toBe(true)
    expect(isSealed([hide])).toBe(true) // its insert may be encrypted, too
    expect(isSealed([insertAt(1, { title: 'a' }), hide])).toBe(false)
    expect(isSealed([insertAt(1, sealed), insertAt(2, { title: 'a' }), hide])).toBe(false)
  })

  test('what an earlier release stored as encrypted may have an encrypted insert', () => {
    const before = replayRecord([insertAt(1, { title: 'a' })], collection) as RecordState
    const stored = (f: number) =>
      parseRecordState(JSON.stringify({ ...JSON.parse(serializeRecordState(before)), f }))

    expect(stored(2)).toEqual({ ...before, isEncrypted: true, isSealed: true })
    const anew = foldOperation(stored(2), insertAt(2, { title: 'b' }), collection)
    expect(anew).toMatchObject({ isEncrypted: false, isSealed: false })
    const hidden = foldOperation(before, updateAt(2, sealed, sealed), collection)
    expect(parseRecordState(serializeRecordState(hidden))).toEqual(hidden)
    expect(hidden).toMatchObject({ isEncrypted: true, isSealed: false })
  })

  test('whatever arrives last, a record is encrypted if an encrypted operation is later than its insert', () => {
    const anew = insertAt(4, { title: 'b' })
    const clear = replayRecord([insertAt(1, { title: 'a' }), anew], collection)
    const hidden = replayRecord([insertAt(1, { title: 'a' }), updateAt(2, sealed, sealed)], collection)

    expect(applyOperation(clear, updateAt(3, sealed, sealed), collection)).toMatchObject({
      isEncrypted: false,
    })
    expect(applyOperation(clear, insertAt(3, sealed), collection)).toMatchObject({ isEncrypted: false })
    expect(applyOperation(hidden, insertAt(0, { title: '' }), collection)).toMatchObject({
      isEncrypted: true,
    })
    const later = foldOperation(hidden, updateAt(5, { title: 'c' }, {}), collection)
    expect(applyOperation(later, anew, collection)).toBe('needs-replay') // might come before the encrypted one
  })
})

describe('late operations', () => {
  const state = replayRecord(
    [insertAt(10, { title: 'a', tags: ['a'] }), updateAt(30, { title: 'c' }, { title: 'a' })],
    collection,
  )

  test.each([
    ['a superseded write', updateAt(20, { title: 'b' }, { title: 'a' })],
    [
      'a write of a field that nobody touched since',
      updateAt(20, { count: 3, tags: ['a', 'b'] }, { tags: ['a'] }),
    ],
    ['a delete that an update has undone', deleteAt(20)],
    ['an insert that another one has replaced', insertAt(5, { title: 'z', meta: 1 })],
    ['an insert that arrives after an update', insertAt(20, { title: 'z', meta: 1 })],
  ])('%s needs no log', (_name, operation) => {
    expect(applyOperation(state, operation, collection)).not.toBe('needs-replay')
  })

  test('increments that fall into a run need no log', () => {
    const incrementAt = (wallTime: number, value: number, count: number): Operation =>
      updateAt(wallTime, { count }, {}, { atomicOps: { count: { type: 'increment', value } } })
    const operations = [insertAt(1, { count: 0 }), incrementAt(10, 1, 1), incrementAt(30, 1, 2)]
    const counted = replayRecord(operations, collection)

    const applied = applyOperation(counted, incrementAt(20, 5, 6), collection)

    expect(applied).toMatchObject({ values: { count: 7 } })
    expect(applyOperation(counted, incrementAt(20, 0.1, 6), collection)).toBe('needs-replay') // sums of fractions depend on their order
    expect(applyOperation(counted, incrementAt(5, 5, 5), collection)).toBe('needs-replay') // would start the run
  })

  test('a late write under a later merge needs the log', () => {
    const merged = foldOperation(state, updateAt(40, { tags: ['a', 'x'] }, { tags: [] }), collection)

    expect(applyOperation(merged, updateAt(20, { tags: ['a', 'b'] }, { tags: ['a'] }), collection)).toBe(
      'needs-replay',
    )
    expect(applyOperation(merged, deleteAt(20), collection)).toBe('needs-replay')
    expect(applyOperation(merged, updateAt(20, { title: 'b' }, {}), collection)).not.toBe('needs-replay')
  })
})

describe('the stored form', () => {
  test('names a timestamp and a node once', () => {
    const operations = [
      insertAt(1, Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`field${index}`, index]))),
      updateAt(2, { field3: 0 }, { field3: 3 }),
    ]
    const state = foldOperation(null, operations[0] as Operation, null)
    const text = serializeRecordState(foldOperation(state, operations[1] as Operation, null))

    expect(text.split('node-a')).toHaveLength(3) // the table, and the id of the newest operation
    expect(text.length).toBeLessThan(JSON.stringify(operations[0]?.data).length + 150)
  })

  test.each([
    '',
    '{}',
    'null',
    '{"v":{"a":1},"w":[],"n":[],"t":[],"c":1,"o":"x"}',
    '{"v":{},"w":8,"n":["n"],"t":[1,2],"c":1,"o":"x"}',
  ])('that is damaged is reported: %s', (text) => {
    expect(() => parseRecordState(text)).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }))
  })
})
