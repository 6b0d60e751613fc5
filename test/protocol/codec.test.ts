import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../src/core/errors.ts'
import {
  DEFAULT_DECODE_LIMITS,
  decodeFrame,
  encodeDeliveryFrame,
  encodeFrame,
  formatOfFrame,
  HANDSHAKE_DECODE_LIMITS,
} from '../../src/protocol/codec.ts'
import type { Frame } from '../../src/protocol/frame.ts'
import type { OperationBatchMessage, SyncMessage } from '../../src/protocol/messages.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { operation } from '../support/wire-operations.ts'

const ACKNOWLEDGMENT: SyncMessage = {
  type: 'acknowledgment',
  messageId: 'm1',
  acknowledgedMessageId: 'm0',
  lastSequenceNumber: 4,
}

function frame(text: string, isBinary = false): Frame {
  return { isBinary, bytes: Buffer.from(text) }
}

function errorOf(given: Frame, limits = DEFAULT_DECODE_LIMITS): ProtocolError {
  try {
    decodeFrame(given, limits)
  } catch (error) {
    if (error instanceof ProtocolError) return error
    throw error
  }
  throw new Error('The frame was accepted')
}

describe('decodeFrame', () => {
  test('reads text as JSON, and binary by its first byte', () => {
    const json = JSON.stringify(ACKNOWLEDGMENT)
    const protobuf = encodeFrame(ACKNOWLEDGMENT, 'protobuf')

    expect(decodeFrame(frame(json), DEFAULT_DECODE_LIMITS)).toEqual(ACKNOWLEDGMENT)
    expect(decodeFrame(frame(json, true), DEFAULT_DECODE_LIMITS)).toEqual(ACKNOWLEDGMENT)
    expect(decodeFrame(protobuf, DEFAULT_DECODE_LIMITS)).toEqual(ACKNOWLEDGMENT)
    expect([frame(json), frame(json, true), protobuf].map(formatOfFrame)).toEqual([
      'json',
      'json',
      'protobuf',
    ])
  })

  test('reads a view into a larger buffer', () => {
    const bytes = new Uint8Array(Buffer.from(`xx${JSON.stringify(ACKNOWLEDGMENT)}yy`)).subarray(2, -2)

    expect(decodeFrame({ isBinary: false, bytes }, DEFAULT_DECODE_LIMITS)).toEqual(ACKNOWLEDGMENT)
  })

  test.each([
    ['an empty text frame', frame(''), 'The frame is not valid JSON.'],
    [
      'an empty binary frame',
      frame('', true),
      'A binary frame must start with 0x0A (protobuf) or 0x7B (JSON).',
    ],
    ['another binary format', frame('\x82\xa1a', true), 'A binary frame must start with'],
    ['half a JSON text', frame('{"type":"handsh'), 'The frame is not valid JSON.'],
    [
      'bytes that are not UTF-8',
      { isBinary: false, bytes: Buffer.from([0x22, 0xff, 0x22]) },
      'The frame is not valid UTF-8.',
    ],
    [
      'a truncated envelope',
      { isBinary: true, bytes: Buffer.from('0a20657272', 'hex') },
      'The frame is not a valid Envelope.',
    ],
    ['JSON that is no message', frame('[]'), 'A message must be an object, not an array.'],
  ])('refuses %s', (_name, given, message) => {
    expect(errorOf(given).message).toContain(message)
  })

  test('refuses a large frame before it looks at it', () => {
    const error = errorOf(frame('{'.repeat(101)), { ...DEFAULT_DECODE_LIMITS, maxFrameBytes: 100 })

    expect(error.code).toBe('MESSAGE_TOO_LARGE')
    expect(error.message).toBe('The message takes 101 bytes; the limit is 100.')
  })

  test.each([
    ['10 MB of brackets', '['.repeat(10_000_000)],
    ['100 000 closed levels', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['100 000 levels of objects', '{"a":'.repeat(100_000) + 1 + '}'.repeat(100_000)],
    ['nesting behind a long escaped text', `{"x":"${'\\\\'.repeat(40_000)}\\"[[[","y":${'['.repeat(50)}`],
  ])('refuses %s', (_name, text) => {
    expect(errorOf(frame(text)).message).toBe(
      'The frame has more than 36 levels of nesting, which no message needs.',
    )
  })

  test('refuses an object of endless names', () => {
    const entries = Array.from({ length: 100_000 }, (_, index) => `"node-${index}":1`)
    const text = `{"type":"handshake","messageId":"m","nodeId":"n","schemaVersion":1,"versionVector":{${entries}}}`

    expect(errorOf(frame(text)).message).toBe(
      'The frame has an object of more than 40000 names, which no message needs.',
    )
  })

  test('counts the names of each object by itself', () => {
    const operations = Array.from({ length: 1000 }, () => operation())
    const text = JSON.stringify({
      type: 'operation-batch',
      messageId: 'm',
      operations,
      isFinal: true,
      batchIndex: 0,
    })

    expect(decodeFrame(frame(text), DEFAULT_DECODE_LIMITS)).toMatchObject({ type: 'operation-batch' })
  })

  test('refuses endless arrays before the handshake', () => {
    const error = errorOf(frame(`[${'{},'.repeat(50_000)}1]`), {
      ...DEFAULT_DECODE_LIMITS,
      ...HANDSHAKE_DECODE_LIMITS,
    })

    expect(error.message).toBe('The frame has more than 1000 arrays and objects, which no message needs.')
  })

  test('does not take brackets in text for nesting', () => {
    const title = `\\"${'['.repeat(100_000)}"`
    const sent = {
      type: 'operation-batch',
      messageId: 'm',
      operations: [operation({ data: { title } })],
      isFinal: true,
      batchIndex: 0,
    }

    const received = decodeFrame(frame(JSON.stringify(sent)), DEFAULT_DECODE_LIMITS)

    expect(received).toMatchObject({ operations: [{ ok: true, operation: { data: { title } } }] })
  })

  describe('a value of an operation that cannot be stored', () => {
    const LISTS = `[${'[],'.repeat(1_000_000)}0]`
    const batchOf = (...wireJsons: string[]) =>
      `{"type":"operation-batch","messageId":"m","operations":[${wireJsons}],"isFinal":true,"batchIndex":0}`
    const small = operationToWireJson(operation())

    test.each([
      ['data', small.replace('"data":{', `"data":{"a":${LISTS},`)],
      ['previousData', small.replace('"previousData":null', `"previousData":{"a":${LISTS}}`)],
      ['atomicOps', small.replace(/}$/, `,"atomicOps":{"a":{"type":"append","value":${LISTS}}}}`)],
      ['escapes', small.replace('"Ship it"', `"${'\\u0041'.repeat(300_000)}"`)],
    ])('is refused by name where it is in %s, and the others are taken', (_name, large) => {
      expect(decodeFrame(frame(batchOf(small, large, small)), DEFAULT_DECODE_LIMITS)).toMatchObject({
        operations: [
          { ok: true, wireJson: small },
          { ok: false, operationId: operation().id, refusal: { code: 'OPERATION_TOO_LARGE' } },
          { ok: true, wireJson: small },
        ],
      })
    })

    test('is refused in the same way in the binary form', () => {
      const fields = { data: { a: Array(300_000).fill(0) }, previousData: { a: Array(300_000).fill(0) } }
      const operations = [operation(), operation({ data: fields.data }), operation(fields)]
      const sent = {
        type: 'operation-batch',
        messageId: 'm',
        operations,
        isFinal: true,
        batchIndex: 0,
      } as const

      expect(decodeFrame(encodeFrame(sent, 'protobuf'), DEFAULT_DECODE_LIMITS)).toMatchObject({
        operations: [
          { ok: true },
          { ok: false, refusal: { code: 'OPERATION_TOO_LARGE' } },
          { ok: false, refusal: { code: 'OPERATION_TOO_LARGE' } },
        ],
      })
    })

    const names = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, 0]))
    const nested = (depth: number) => JSON.parse('['.repeat(depth) + ']'.repeat(depth))

    test.each([
      { what: 'nesting', value: nested(1000), message: 'nested deeper than 32 levels' },
      { what: 'nesting of objects', value: { a: nested(39) }, message: 'nested deeper than 32 levels' },
      { what: 'names', value: names(45_000), message: 'an object of more than 40000 names' },
    ])('is refused by name for its $what, in either form', ({ value, message }) => {
      const limits = { ...DEFAULT_DECODE_LIMITS, maxOperationBytes: 1_000_000 }
      const large = operation({ data: { title: 'x'.repeat(70_000) } })
      const wrong = [
        operation({ data: { a: value } }),
        operation({ type: 'update', previousData: { a: value } }),
        operation({ data: { a: 1 }, atomicOps: { a: { type: 'append', value } } }),
      ]
      const operations = [large, ...wrong, operation()]
      const sent = {
        type: 'operation-batch',
        messageId: 'm',
        operations,
        isFinal: true,
        batchIndex: 0,
      } as const
      const refused = {
        ok: false,
        operationId: operation().id,
        refusal: { code: 'INVALID_OPERATION', message: expect.stringContaining(message) },
      }

      for (const format of ['json', 'protobuf'] as const) {
        expect(decodeFrame(encodeFrame(sent, format), limits)).toMatchObject({
          operations: [{ ok: true }, refused, refused, refused, { ok: true }],
        })
      }
    })

    test.each([
      'nodeId',
      'collection',
      'recordId',
      'transactionId',
      'mutationName',
      'causalDeps',
      'timestamp',
    ])('is refused for its nesting also as its %s', (property) => {
      const large = operationToWireJson(operation({ data: { title: 'x'.repeat(70_000) } }))
      const wrong = JSON.stringify({ ...operation(), [property]: nested(1000) })

      expect(decodeFrame(frame(batchOf(large, wrong)), DEFAULT_DECODE_LIMITS)).toMatchObject({
        operations: [
          { ok: true },
          { ok: false, refusal: { message: expect.stringContaining('nested deeper than 32 levels') } },
        ],
      })
    })

    test('is told from one that only takes many characters', () => {
      const escaped = small.replace('"Ship it"', `"${'\\u0041'.repeat(200_000)}"`)
      const spaced = small.replace('"Ship it"', `${' '.repeat(1_000_000)}"Ship it"`)

      expect(decodeFrame(frame(batchOf(escaped, spaced)), DEFAULT_DECODE_LIMITS)).toMatchObject({
        operations: [{ ok: true }, { ok: true, wireJson: small }],
      })
    })

    test('is not parsed when it never ends, or stands where no message has values', () => {
      const endless = `{"type":"operation-batch","operations":[{"data":{"a":[${'[],'.repeat(1_000_000)}`
      const misplaced = `{"type":"operation-batch","x":${LISTS}}`

      expect(errorOf(frame(endless)).message).toBe(
        'The frame is not valid JSON: it ends within an array or an object.',
      )
      expect(errorOf(frame(misplaced)).message).toBe(
        'The frame has more than 100000 values around those of operations, which no message needs.',
      )
    })
  })

  test('refuses nesting in a small frame, one operation at a time', () => {
    const wireJson = operationToWireJson(operation()).replace(
      '"Ship it"',
      '['.repeat(1000) + ']'.repeat(1000),
    )
    const text = `{"type":"operation-batch","messageId":"m","operations":[${wireJson}],"isFinal":true,"batchIndex":0}`

    expect(decodeFrame(frame(text), DEFAULT_DECODE_LIMITS)).toMatchObject({
      operations: [
        { ok: false, refusal: { message: expect.stringContaining('nested deeper than 32 levels') } },
      ],
    })
  })
})

describe('encodeFrame', () => {
  test.each(['awareness-update', 'yjs-doc-update'] as const)('%s is JSON in either format', (type) => {
    const message: SyncMessage =
      type === 'awareness-update'
        ? { type, messageId: 'm', clientId: 1, states: { 1: null } }
        : { type, messageId: 'm', collection: 'c', recordId: 'r', field: 'f', update: '' }

    const encoded = encodeFrame(message, 'protobuf')

    expect(encoded.isBinary).toBe(false)
    expect(decodeFrame(encoded, DEFAULT_DECODE_LIMITS)).toEqual(message)
  })
})

describe('encodeDeliveryFrame', () => {
  const operations = [
    operation(),
    operation({ type: 'delete', data: null, previousData: { title: 'Grüße ☃' } }),
  ]
  const wireJsons = operations.map(operationToWireJson)
  const headers: Omit<OperationBatchMessage, 'type' | 'operations'>[] = [
    { messageId: 'm"1', isFinal: true, batchIndex: 0, baseDeliverySequence: 0, maxDeliverySequence: 5 },
    { messageId: 'm1', isFinal: false, batchIndex: 3, totalBatches: 4, cursor: 'abc' },
    { messageId: 'm1', isFinal: true, batchIndex: 0 },
  ]

  test.each(headers)('joins stored texts to what encodeFrame makes: %j', (header) => {
    for (const format of ['json', 'protobuf'] as const) {
      const { messageId, ...rest } = header
      const whole = encodeFrame({ type: 'operation-batch', messageId, operations, ...rest }, format)

      const joined = encodeDeliveryFrame(header, wireJsons, format)

      expect(Buffer.from(joined.bytes).equals(whole.bytes)).toBe(true)
      expect(joined.isBinary).toBe(format === 'protobuf')
    }
  })

  test('an empty batch', () => {
    const header = {
      messageId: 'm1',
      isFinal: true,
      batchIndex: 0,
      baseDeliverySequence: 4,
      maxDeliverySequence: 9,
    }

    const { bytes } = encodeDeliveryFrame(header, [], 'json')

    expect(Buffer.from(bytes).toString()).toBe(
      '{"type":"operation-batch","messageId":"m1","operations":[],"isFinal":true,"batchIndex":0,"baseDeliverySequence":4,"maxDeliverySequence":9}',
    )
  })
})
