import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ProtocolError } from '../../src/core/errors.ts'
import { DEFAULT_DECODE_LIMITS, decodeFrame, encodeDeliveryFrame } from '../../src/protocol/codec.ts'
import type { Frame } from '../../src/protocol/frame.ts'
import type { SyncMessage } from '../../src/protocol/messages.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { encodeProtobufMessage } from '../../src/protocol/protobuf-codec.ts'
import { AROUND_VALUES_IN_MESSAGE, boundJson } from '../../src/protocol/scan-json.ts'
import { recordedMessages } from '../support/recorded-frames.ts'
import { operations } from '../support/wire-operations.ts'

const FRAMES: readonly Frame[] = recordedMessages().flatMap(({ text }) => [
  { isBinary: false, bytes: Buffer.from(text) },
  { isBinary: true, bytes: encodeProtobufMessage(JSON.parse(text) as SyncMessage) },
])

/** More with `MUTATIONS=100000 npx vitest run test/protocol/codec.property.test.ts`. */
const MUTATIONS = Number(process.env.MUTATIONS ?? 5000)

test('what a server delivers is what a server reads, in both formats', () => {
  fc.assert(
    fc.property(
      fc.array(operations, { maxLength: 4 }),
      fc.constantFrom('json', 'protobuf'),
      (sent, format) => {
        const header = { messageId: 'm', isFinal: true, batchIndex: 0, totalBatches: 1 }
        const wireJsons = sent.map(operationToWireJson)

        const received = decodeFrame(encodeDeliveryFrame(header, wireJsons, format), DEFAULT_DECODE_LIMITS)

        if (received.type !== 'operation-batch') throw new Error('not a batch')
        expect(received.operations.map((each) => (each.ok ? each.wireJson : each.refusal))).toEqual(wireJsons)
      },
    ),
  )
})

test('nothing is cut out of operations that may be stored, however they are written', () => {
  fc.assert(
    fc.property(fc.array(operations, { minLength: 1, maxLength: 4 }), fc.boolean(), (sent, isEscaped) => {
      const wireJsons = sent.map(operationToWireJson)
      const batch = `{"type":"operation-batch","operations":[${wireJsons}]}`
      const text = isEscaped ? batch.replace(/[a-z](?=[a-z]*")/g, asEscape) : batch
      const maxValueBytes = Math.max(...wireJsons.map((wireJson) => Buffer.byteLength(wireJson)))

      const bounds = {
        what: 'The batch',
        maxContainers: text.length,
        around: AROUND_VALUES_IN_MESSAGE,
        maxValueBytes,
      }
      expect(boundJson(text, bounds)).toBe(text)
    }),
  )
})

function asEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

test('a mutated frame is read or refused, and what is stored is canonical', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...FRAMES),
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      (frame, mutations) => {
        const bytes = mutations.reduce(mutate, Buffer.from(frame.bytes))

        const received = decodeOrRefuse({ isBinary: frame.isBinary, bytes })

        if (received?.type !== 'operation-batch') return
        for (const each of received.operations) {
          if (each.ok) expect(operationToWireJson(JSON.parse(each.wireJson))).toBe(each.wireJson)
        }
      },
    ),
    { numRuns: MUTATIONS },
  )
  expect(Object.keys(Object.prototype)).toEqual([])
})

function decodeOrRefuse(frame: Frame) {
  try {
    return decodeFrame(frame, DEFAULT_DECODE_LIMITS)
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

interface Mutation {
  readonly kind: 'flip' | 'delete' | 'insert' | 'repeat' | 'truncate'
  /** Where, as a part of the frame's length. */
  readonly at: number
  readonly length: number
  readonly token: string
}

const TOKENS = [
  'null',
  '-0',
  '1e400',
  '"__proto__":',
  '"constructor":',
  '\\u0000',
  '\\ud800',
  '[',
  '{',
  '"',
  ',',
  '\x0a',
  '\xff',
]

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom('flip', 'delete', 'insert', 'repeat', 'truncate'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.integer({ min: 1, max: 40 }),
  token: fc.constantFrom(...TOKENS),
})

function mutate(bytes: Buffer, { kind, at, length, token }: Mutation): Buffer {
  const start = Math.floor(at * bytes.length)
  const [before, part, after] = [
    bytes.subarray(0, start),
    bytes.subarray(start, start + length),
    bytes.subarray(start + length),
  ]
  switch (kind) {
    case 'flip':
      return Buffer.concat([before, part.map((byte) => byte ^ (1 << (length % 8))), after])
    case 'delete':
      return Buffer.concat([before, after])
    case 'insert':
      return Buffer.concat([before, Buffer.from(token, 'latin1'), part, after])
    case 'repeat':
      return Buffer.concat([before, part, part, after])
    case 'truncate':
      return before
  }
}
