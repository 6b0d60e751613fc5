import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import { describe, expect, test } from 'vitest'
import { generateProtobufSource } from '../../scripts/generate-protobuf.ts'
import { ProtocolError } from '../../src/core/errors.ts'
import { DEFAULT_DECODE_LIMITS } from '../../src/protocol/codec.ts'
import type { OperationBatchMessage, SyncMessage } from '../../src/protocol/messages.ts'
import { decodeProtobufMessage, encodeProtobufMessage } from '../../src/protocol/protobuf-codec.ts'
import type { DecodeLimits } from '../../src/protocol/receive.ts'
import { operation, operations } from '../support/wire-operations.ts'

const PROTO_TEXT = readFileSync(new URL('../../src/protocol/kora-sync.proto', import.meta.url), 'utf8')

/** An implementation that shares nothing with ours. */
const Envelope = protobuf.parse(PROTO_TEXT).root.lookupType('kora.sync.Envelope')

const REJECTION: SyncMessage = {
  type: 'operation-rejected',
  messageId: 'm',
  operationId: 'o',
  collection: 'c',
  recordId: 'r',
  code: 'X',
  message: '',
  retriable: false,
}

function batch(changes: Partial<OperationBatchMessage> = {}): OperationBatchMessage {
  return { type: 'operation-batch', messageId: 'm', operations: [], isFinal: true, batchIndex: 0, ...changes }
}

function decode(bytes: Uint8Array, limits: Partial<DecodeLimits> = {}) {
  return decodeProtobufMessage(bytes, { ...DEFAULT_DECODE_LIMITS, ...limits })
}

function hex(...parts: string[]): Uint8Array {
  return Buffer.from(parts.join(''), 'hex')
}

test('the generated tables are those of kora-sync.proto; after a change run `npm run generate`', () => {
  const generated = readFileSync(new URL('../../src/protocol/kora-sync-proto.ts', import.meta.url), 'utf8')

  expect(generateProtobufSource(PROTO_TEXT)).toBe(generated)
})

test('another implementation reads what is written, and writes what is read', () => {
  fc.assert(
    fc.property(fc.array(operations, { maxLength: 3 }), (sent) => {
      const bytes = encodeProtobufMessage(batch({ operations: sent }))

      const read = Envelope.decode(bytes)

      expect(Envelope.verify(read)).toBeNull()
      const received = decode(Envelope.encode(read).finish())
      if (received.type !== 'operation-batch') throw new Error('not a batch')
      expect(received.operations.map((each) => each.ok && each.operation)).toEqual(
        JSON.parse(JSON.stringify(sent)),
      )
    }),
  )
})

test('an insert without fields stays one', () => {
  const received = decode(encodeProtobufMessage(batch({ operations: [operation({ data: {} })] })))

  expect(received).toMatchObject({ operations: [{ ok: true, operation: { data: {} } }] })
})

test('prototype keys inside the JSON of an operation are refused as in JSON', () => {
  const data = JSON.parse('{"__proto__":{"isAdmin":true},"title":"x"}')

  const received = decode(encodeProtobufMessage(batch({ operations: [operation({ data })] })))

  expect(received).toMatchObject({ operations: [{ ok: false, refusal: { code: 'INVALID_OPERATION' } }] })
})

test('an operation with a number beyond 2^53 is refused by name, as in JSON', () => {
  const timestamp = { ...operation().timestamp, wallTime: 2 ** 60 }
  const operations = [operation(), operation({ sequenceNumber: 2 ** 53 }), operation({ timestamp })]

  expect(decode(encodeProtobufMessage(batch({ operations })))).toMatchObject({
    operations: [
      { ok: true },
      { ok: false, operationId: operation().id, refusal: { code: 'INVALID_OPERATION' } },
      { ok: false, operationId: operation().id, refusal: { code: 'INVALID_TIMESTAMP' } },
    ],
  })
})

test('an operation with more parents than are accepted is refused by name, and with their number', () => {
  const causalDeps = Array.from({ length: 250 }, () => operation().id)
  const operations = [operation(), operation({ causalDeps }), operation()]

  expect(decode(encodeProtobufMessage(batch({ operations })))).toMatchObject({
    operations: [
      { ok: true },
      {
        ok: false,
        operationId: operation().id,
        refusal: {
          code: 'INVALID_OPERATION',
          message: 'causalDeps has 250 entries; at most 100 are accepted.',
        },
      },
      { ok: true },
    ],
  })
})

test.each([
  ['a value', '{title:1}'],
  ['half an object', '{"title":'],
  ['only commas', ','.repeat(200_000)],
  ['only colons', ':'.repeat(200_000)],
])('an operation whose JSON is none, but %s, is refused by name', (_name, text) => {
  const { nodeId, sequenceNumber } = operation()
  const sent = (changes: object) => ({ ...operation(), hasData: true, dataJson: '{}', ...changes })
  const frame = {
    type: 'operation-batch',
    messageId: 'm',
    operations: [
      sent({ dataJson: text }),
      sent({ type: 'delete', hasData: false, dataJson: text }),
      sent({ hasPreviousData: true, previousDataJson: text }),
      sent({}),
    ],
  }

  const received = decode(Envelope.encode(Envelope.fromObject(frame)).finish())

  const refused = { ok: false, operationId: operation().id, nodeId, sequenceNumber }
  const refusal = (what: string) => ({
    code: 'INVALID_OPERATION',
    message: `${what}, not ["text that is not JSON"].`,
  })
  expect(received).toMatchObject({
    operations: [
      { ...refused, refusal: refusal('data of insert must be an object') },
      { ...refused, refusal: refusal('data of delete must be null') },
      { ...refused, refusal: refusal('previousData must be an object or null') },
      { ok: true },
    ],
  })
})

describe('bounds', () => {
  const BATCH = '0a0f6f7065726174696f6e2d6261746368'
  const ACK = '0a0e61636b6e6f776c6564676d656e74'
  const cases: [string, Uint8Array, string][] = [
    [
      'a million empty operations',
      hex(BATCH, '5a00'.repeat(1_000_000)),
      'Envelope.operations has more than 1000 entries.',
    ],
    [
      'endless parents',
      hex(BATCH, '5a80ea30', '5200'.repeat(400_000)),
      'The frame has more than 100000 entries beyond those that are accepted.',
    ],
    ['endless unknown fields', hex(ACK, 'c80301'.repeat(300)), 'Envelope has more than 200 fields.'],
    ['one field endlessly', hex(ACK, '7801'.repeat(300)), 'Envelope has more than 200 fields.'],
    ['a group', hex(ACK, 'c303', 'c403'), 'Envelope has a group (field 56), which is not accepted.'],
    [
      'a number of 2^53',
      hex(ACK, '7880808080808080', '10'),
      'acknowledgment.lastSequenceNumber must be an integer',
    ],
    [
      'text where a number belongs',
      hex(ACK, '7a0131'),
      'Envelope.lastSequenceNumber has wire type 2, not 0.',
    ],
    ['a length beyond the frame', hex(BATCH, '5a7f00'), 'Envelope.operations is truncated.'],
    ['a length beyond its message', hex(BATCH, '5a02', '0a05', '6161616161'), 'Operation is truncated.'],
    ['a varint without end', hex(ACK, '78ffffffffffffffffffff'), 'The frame is not a valid Envelope.'],
    ['text that is not UTF-8', hex(ACK, '1201ff'), 'The frame is not a valid Envelope.'],
    ['a type of the server', encodeProtobufMessage(REJECTION), 'sent by servers only'],
  ]

  test.each(cases)('%s', (_name, bytes, message) => {
    expect(() => decode(bytes)).toThrow(ProtocolError)
    expect(() => decode(bytes)).toThrow(message)
  })

  test('the version vector', () => {
    const versionVector = { a: 1, b: 2, c: 3 }
    const handshake: SyncMessage = {
      type: 'handshake',
      messageId: 'm',
      nodeId: 'n',
      versionVector,
      schemaVersion: 1,
    }

    expect(() => decode(encodeProtobufMessage(handshake), { maxVectorEntries: 2 })).toThrow(
      'Envelope.versionVector has more than 2 entries.',
    )
  })
})
