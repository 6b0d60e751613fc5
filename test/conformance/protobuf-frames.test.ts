import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../src/core/errors.ts'
import { DEFAULT_DECODE_LIMITS } from '../../src/protocol/codec.ts'
import type { SyncMessage } from '../../src/protocol/messages.ts'
import {
  decodeEnvelope,
  decodeProtobufMessage,
  encodeProtobufMessage,
} from '../../src/protocol/protobuf-codec.ts'
import { loadRawVectors } from '../support/vectors.ts'

interface FrameVector {
  name: string
  message: SyncMessage
  hex: string
  decoded?: Record<string, unknown>
  decodeError?: string
}

const { frames, decodeOnly } = loadRawVectors('protobuf-frames') as {
  frames: FrameVector[]
  decodeOnly: Omit<FrameVector, 'message'>[]
}

const BOUNDS = { versionVector: 100, operations: 100, causalDeps: 100, supportedWireFormats: 16 }

describe.each(frames)('$name', ({ name, message, hex, decoded, decodeError }) => {
  test('is encoded to the same bytes', () => {
    expect(Buffer.from(encodeProtobufMessage(message)).toString('hex')).toBe(hex)
  })

  test('is decoded to the same message', () => {
    if (decoded === undefined || decodeError !== undefined) expect(() => decode(hex)).toThrow(ProtocolError)
    else expect(decode(hex)).toEqual(keepEmptyData(name, decoded))
  })
})

/**
 * What clients cannot read at all because of one operation. A server has to refuse that operation by name, or its author
 * could never send what follows it.
 */
const UNREADABLE_OPERATION = 'hasData true but empty dataJson'

test.each(decodeOnly.filter(({ name }) => name !== UNREADABLE_OPERATION))('$name', ({ hex, decoded }) => {
  if (decoded === undefined) expect(() => decode(hex)).toThrow(ProtocolError)
  else expect(decode(hex)).toEqual(decoded)
})

test(UNREADABLE_OPERATION, () => {
  const { hex } = decodeOnly.find(({ name }) => name === UNREADABLE_OPERATION) ?? { hex: '' }

  const received = decodeProtobufMessage(Buffer.from(hex, 'hex'), DEFAULT_DECODE_LIMITS)

  expect(received).toMatchObject({ operations: [{ ok: false, refusal: { code: 'INVALID_OPERATION' } }] })
  expect(decode(hex)).toMatchObject({ operations: [{ data: ['text that is not JSON'] }] })
})

function decode(hex: string): object {
  return decodeEnvelope(Buffer.from(hex, 'hex'), BOUNDS)
}

/**
 * The one difference from the clients' decoder, on purpose: where it makes null of the empty data of
 * an insert, ours keeps what the frame says, because an insert without data is not an operation.
 */
function keepEmptyData(name: string, decoded: Record<string, unknown>): Record<string, unknown> {
  if (!name.startsWith('batch-insert-empty-data')) return decoded
  const operations = decoded.operations as object[]
  return { ...decoded, operations: operations.map((operation) => ({ ...operation, data: {} })) }
}
