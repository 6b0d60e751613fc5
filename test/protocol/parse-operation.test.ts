import { describe, expect, test } from 'vitest'
import { operationToWireJson, parseOperation } from '../../src/protocol/parse-operation.ts'
import { NODE_ID, OPERATION_ID, operation } from '../support/wire-operations.ts'

const MAX_BYTES = 262_144

/** As a client's text would arrive: changes are merged into the JSON of a good operation. */
function parse(changes: Record<string, unknown>, maxBytes = MAX_BYTES) {
  return parseOperation({ ...operation(), ...changes }, maxBytes)
}

/** The same for changes that only JSON text can say. */
function parseText(property: string, json: string) {
  const text = operationToWireJson(operation()).replace(/}$/, `,${JSON.stringify(property)}:${json}}`)
  return parseOperation(JSON.parse(text), MAX_BYTES)
}

function nested(depth: number): unknown {
  return depth === 0 ? 1 : [nested(depth - 1)]
}

describe('what is accepted', () => {
  test('an operation as clients write it, and its JSON byte for byte', () => {
    const sent = operation({
      type: 'update',
      previousData: { title: 'Ship', done: false },
      causalDeps: [OPERATION_ID],
      atomicOps: { n: { type: 'increment', value: 5 } },
      transactionId: 'tx-9',
      mutationName: 'restock "now"',
    })

    const received = parseOperation(sent, MAX_BYTES)

    expect(received).toEqual({ ok: true, operation: sent, wireJson: JSON.stringify(sent) })
  })

  test('the wire form has the properties in the order of the clients, whatever the order of arrival', () => {
    const reversed = Object.fromEntries(Object.entries(operation()).reverse())

    const received = parseOperation(reversed, MAX_BYTES)

    expect(received.ok && received.wireJson).toBe(JSON.stringify(operation()))
  })

  test('unknown properties are left behind, at the top and inside', () => {
    const received = parse({
      role: 'admin',
      timestamp: { ...operation().timestamp, drift: 1 },
      atomicOps: { n: { type: 'max', value: 1, by: 'me' } },
    })

    expect(received.ok && received.wireJson).toBe(
      JSON.stringify(operation({ atomicOps: { n: { type: 'max', value: 1 } } })),
    )
  })

  test('the clock of another node, where a device may bring back a snapshot of a server', () => {
    const clockOf = (nodeId: unknown) => ({ timestamp: { wallTime: 1, logical: 0, nodeId } })
    const parseBroughtBack = (nodeId: unknown) =>
      parseOperation({ ...operation(), ...clockOf(nodeId) }, MAX_BYTES, true)

    expect(parseBroughtBack('other')).toMatchObject({ ok: true, operation: clockOf('other') })
    for (const nodeId of ['', 'x'.repeat(256), 7, undefined, 'a\u0000b', '\ud800', 'a\u001fb']) {
      expect(parseBroughtBack(nodeId)).toMatchObject({ ok: false, refusal: { code: 'INVALID_OPERATION' } })
    }
  })

  test('a node with a control character, in a log of before they were refused', () => {
    const written = operation({
      nodeId: 'a\u001fb',
      timestamp: { wallTime: 1, logical: 0, nodeId: 'a\u001fb' },
    })

    expect(parseOperation(written, MAX_BYTES)).toMatchObject({ ok: true, operation: written })
    expect(parseOperation(written, MAX_BYTES, true)).toMatchObject({
      ok: false,
      refusal: { code: 'INVALID_OPERATION', message: 'nodeId holds a control character.' },
    })
  })

  test('an empty atomicOps is the same as none', () => {
    const received = parse({ atomicOps: {} })

    expect(received.ok && 'atomicOps' in received.operation).toBe(false)
  })

  test.each([
    ['{"$koraBytes":"AQI="}'],
    ['{"__kora_bytes__":"AQI="}'],
    ['{"0":1,"1":2}'],
    ['{"300000000":1}'],
    ['{"__kora_e2e_encrypted":true,"v":1,"iv":"AA==","ct":"AA==","alg":"aes-256-gcm"}'],
  ])('the binary form %s is kept as it came', (json) => {
    const received = parseText('data', `{"body":${json}}`)

    expect(received.ok && received.wireJson).toContain(`"data":{"body":${json}}`)
  })

  test.each([
    ['-0', '0'],
    ['9007199254740993', '9007199254740992'],
    ['1E2', '100'],
    ['1e-7', '1e-7'],
    ['"\\u0041\\/"', '"A/"'],
    ['"\\ud83d\\ude00"', '"😀"'],
    ['{"a":1,"a":2}', '{"a":2}'],
    ['"C:\\\\users"', '"C:\\\\users"'],
    ['"\\u0001"', '"\\u0001"'],
  ])('the value %s is stored as %s, in the log as in memory', (sent, stored) => {
    const received = parseText('data', `{"f":${sent}}`)

    expect(received.ok && received.wireJson).toContain(`"data":{"f":${stored}}`)
    expect(received.ok && received.operation).toStrictEqual(received.ok && JSON.parse(received.wireJson))
  })

  test('a property that is undefined is absent, as in JSON', () => {
    const received = parse({ data: { title: 'x', done: undefined }, transactionId: undefined })

    expect(received.ok && received.operation).toStrictEqual(operation({ data: { title: 'x' } }))
  })

  test('names of Object.prototype other than the refused ones are ordinary', () => {
    const received = parseText('data', '{"toString":1,"hasOwnProperty":2,"valueOf":3}')

    expect(received.ok).toBe(true)
  })

  test('values nested 31 levels below data', () => {
    expect(parse({ data: { a: nested(31) } }).ok).toBe(true)
  })
})

describe('what is refused as INVALID_OPERATION', () => {
  const cases: [string, Record<string, unknown>, string][] = [
    ['id missing', { id: undefined }, 'id must be 64 lower-case hex digits, not missing.'],
    ['id in upper case', { id: OPERATION_ID.toUpperCase() }, 'id must be 64'],
    ['id too short', { id: 'c0ffee' }, 'id must be 64 lower-case hex digits, not "c0ffee".'],
    ['id with a line end', { id: `${OPERATION_ID.slice(1)}\n` }, 'id must be 64'],
    ['unknown type', { type: 'upsert' }, 'type must be insert, update or delete, not "upsert".'],
    ['type from a prototype', { type: 'constructor' }, 'type must be'],
    ['nodeId a number', { nodeId: 7 }, 'nodeId must be a string of 1 to 255 characters, not 7.'],
    ['nodeId empty', { nodeId: '' }, 'nodeId must be a string of 1 to 255 characters, not 0 characters.'],
    ['nodeId too long', { nodeId: 'n'.repeat(256) }, 'not 256 characters.'],
    ['collection too long', { collection: 'c'.repeat(64) }, 'collection must be a string of 1 to 63'],
    ['recordId a number', { recordId: 12 }, 'recordId must be a string of 1 to 255 characters, not 12.'],
    ['collection __proto__', { collection: '__proto__' }, 'collection must not be "__proto__".'],
    ['collection constructor', { collection: 'constructor' }, 'collection must not be "constructor".'],
    [
      'sequence number negative',
      { sequenceNumber: -1 },
      'sequenceNumber must be an integer from 0 to 2^53 - 1, not -1.',
    ],
    ['sequence number -0', { sequenceNumber: -0 }, 'sequenceNumber must be'],
    ['sequence number fractional', { sequenceNumber: 1.5 }, 'not 1.5.'],
    ['sequence number text', { sequenceNumber: '7' }, 'not "7".'],
    ['sequence number 2^53', { sequenceNumber: 2 ** 53 }, 'not 9007199254740992.'],
    ['schema version 0', { schemaVersion: 0 }, 'schemaVersion must be an integer from 1'],
    [
      'schema version 2^31',
      { schemaVersion: 2 ** 31 },
      'schemaVersion must be an integer from 1 to 2^31 - 1',
    ],
    ['causalDeps missing', { causalDeps: undefined }, 'causalDeps must be an array, not missing.'],
    ['causalDeps of numbers', { causalDeps: [1] }, 'causalDeps must hold operation ids, not 1.'],
    [
      'causalDeps endless',
      { causalDeps: Array(101).fill(OPERATION_ID) },
      'causalDeps has 101 entries; at most 100',
    ],
    ['timestamp text', { timestamp: '1' }, 'timestamp must be an object, not "1".'],
    [
      'timestamp of another node',
      { timestamp: { wallTime: 1, logical: 0, nodeId: 'other' } },
      'timestamp.nodeId must equal nodeId, not "other".',
    ],
    ['insert without data', { data: null }, 'data of insert must be an object, not null.'],
    ['update without data', { type: 'update', data: null }, 'data of update must be an object, not null.'],
    ['delete with data', { type: 'delete' }, 'data of delete must be null, not an object.'],
    ['data an array', { data: [1] }, 'data of insert must be an object, not an array.'],
    ['data text', { data: 'x' }, 'data of insert must be an object, not "x".'],
    ['data of a class', { data: new Date(0) }, 'data of insert must be an object, not an instance of Date.'],
    ['previousData text', { previousData: 'x' }, 'previousData must be an object or null, not "x".'],
    [
      'previousData missing',
      { previousData: undefined },
      'previousData must be an object or null, not missing.',
    ],
    [
      'an infinite number',
      { data: { n: { deep: [1, Number.POSITIVE_INFINITY] } } },
      'data.n.deep[1] must be a finite number.',
    ],
    ['a function', { data: { toJSON: () => 'x' } }, 'data.toJSON must be a JSON value, not a function.'],
    ['raw bytes', { data: { body: new Uint8Array(2) } }, 'data.body must be a plain object.'],
    ['nesting', { data: { a: nested(32) } }, ' is nested deeper than 32 levels.'],
    ['NUL in a value', { data: { title: 'a\u0000b' } }, 'data.title holds a NUL character'],
    ['NUL in a key', { data: { 'a\u0000': 1 } }, 'data."a\\u0000" holds a NUL character'],
    ['NUL in the record id', { recordId: '\u0000' }, 'recordId holds a NUL character'],
    [
      'half a surrogate pair',
      { data: { tags: ['ok', '\ud83d'] } },
      'data.tags[1] holds a NUL character or half',
    ],
    ['half a pair before', { previousData: { title: '\ude00' } }, 'previousData.title holds'],
    ['atomicOps text', { atomicOps: 'x' }, 'atomicOps must be an object, not "x".'],
    ['atomicOps null', { atomicOps: null }, 'atomicOps must be an object, not null.'],
    [
      'unknown atomic type',
      { atomicOps: { n: { type: 'double', value: 1 } } },
      'atomicOps.n.type must be increment',
    ],
    [
      'increment by text',
      { atomicOps: { n: { type: 'increment', value: '1' } } },
      'atomicOps.n.value must be a finite number',
    ],
    ['append of nothing', { atomicOps: { n: { type: 'append' } } }, 'atomicOps.n.value must be a JSON value'],
    [
      'transactionId a number',
      { transactionId: 1 },
      'transactionId must be a string of 1 to 255 characters, not 1.',
    ],
    ['mutationName endless', { mutationName: 'm'.repeat(256) }, 'mutationName must be a string'],
  ]

  test.each(cases)('%s', (_name, changes, message) => {
    const received = parse(changes)

    expect(received.ok).toBe(false)
    if (received.ok) return
    expect(received.refusal.code).toBe('INVALID_OPERATION')
    expect(received.refusal.message).toContain(message)
    expect(received.refusal.retriable).toBe(false)
  })

  test.each([
    ['data', '{"__proto__":{"isAdmin":true}}'],
    ['data', '{"constructor":1}'],
    ['data', '{"prototype":1}'],
    ['data', '{"":1}'],
    ['data', '{"a":{"b":[{"__proto__":1}]}}'],
    ['previousData', '{"__proto__":1}'],
    ['atomicOps', '{"__proto__":{"type":"max","value":1}}'],
    ['atomicOps', '{"n":{"type":"append","value":{"__proto__":1}}}'],
    ['data', '{"n":1e400}'],
    ['data', '{"n":-1e400}'],
  ])('%s %s', (property, json) => {
    const received = parseText(property, json)

    expect(!received.ok && received.refusal.code).toBe('INVALID_OPERATION')
    expect(Object.prototype).not.toHaveProperty('isAdmin')
  })

  test.each([[null], [7], ['x'], [[]], [undefined]])('%j instead of an operation', (value) => {
    const received = parseOperation(value, MAX_BYTES)

    expect(received).toMatchObject({ ok: false, operationId: '', sequenceNumber: 0 })
  })
})

test.each([
  [{ wallTime: -1, logical: 0 }],
  [{ wallTime: 1e15, logical: 0 }],
  [{ wallTime: 1.5, logical: 0 }],
  [{ wallTime: '1', logical: 0 }],
  [{ wallTime: 1, logical: 100_000 }],
  [{ wallTime: 1, logical: -1 }],
  [{ wallTime: 1 }],
])('the clock reading %j is refused as INVALID_TIMESTAMP', (reading) => {
  const received = parse({ timestamp: { ...reading, nodeId: NODE_ID } })

  expect(!received.ok && received.refusal.code).toBe('INVALID_TIMESTAMP')
})

describe('size', () => {
  const bytes = Buffer.byteLength(operationToWireJson(operation({ data: { title: '☃'.repeat(100) } })))
  const sent = { data: { title: '☃'.repeat(100) } }

  test('is counted in bytes of the stored JSON, and the limit itself is accepted', () => {
    expect(parse(sent, bytes).ok).toBe(true)
  })

  test('one byte more is refused with size and limit', () => {
    const received = parse(sent, bytes - 1)

    expect(!received.ok && received.refusal).toEqual({
      code: 'OPERATION_TOO_LARGE',
      message: `Its JSON takes ${bytes} bytes; the limit is ${bytes - 1}.`,
      retriable: false,
    })
  })

  test('what is far above the limit is refused without being written', () => {
    const received = parse({ data: { title: 'x'.repeat(5_000_000) } })

    expect(!received.ok && received.refusal.message).toMatch(
      /^Its JSON takes at least 50000\d\d bytes; the limit is 262144\.$/,
    )
  })

  test('a hundred thousand keys are refused', () => {
    const data = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`k${index}`, 1]))

    const received = parse({ data })

    expect(!received.ok && received.refusal.code).toBe('OPERATION_TOO_LARGE')
  })
})

test('a refusal carries what could be read of the operation', () => {
  const received = parse({ type: 'upsert', recordId: 5 })

  expect(received).toMatchObject({
    ok: false,
    operationId: OPERATION_ID,
    collection: 'todos',
    recordId: '',
    nodeId: NODE_ID,
    sequenceNumber: 7,
  })
})
