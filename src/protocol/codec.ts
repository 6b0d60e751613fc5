import { isUtf8 } from 'node:buffer'
import { ProtocolError } from '../core/errors.ts'
import type { Frame } from './frame.ts'
import { decodeJsonMessage, encodeJsonMessage } from './json-codec.ts'
import { protocolError } from './message-reader.ts'
import type { OperationBatchMessage, ReceivedMessage, SyncMessage, WireFormat } from './messages.ts'
import { decodeProtobufMessage, encodeProtobufMessage } from './protobuf-codec.ts'
import type { DecodeLimits } from './receive.ts'
import { operationOfWireJson } from './wire-identity.ts'

/** Limits on what a session decodes once the handshake is accepted. */
export const DEFAULT_DECODE_LIMITS: DecodeLimits = {
  maxFrameBytes: 32 * 1024 * 1024, // a batch of 100 operations of the largest size takes 25 MiB
  maxContainers: 4_000_000, // the same batch, full of drawings: a pair of coordinates takes 6 bytes
  maxOperationBytes: 256 * 1024,
  maxBatchOperations: 1000, // clients send 100
  maxVectorEntries: 20_000, // one per device that ever wrote a record the client holds
  maxSubsets: 200, // live queries of one app
  maxScopeCollections: 200,
  maxFilterFields: 32,
  maxFilterBytes: 8 * 1024,
  maxPresenceStates: 16,
  maxPresenceLength: 4 * 1024, // room for an avatar's URL
}

/** Limits on what a session decodes before that. Anyone can send it, so they allow only what a handshake needs. */
export const HANDSHAKE_DECODE_LIMITS = {
  maxFrameBytes: 1024 * 1024, // 20 000 vector entries of 50 bytes
  maxContainers: 1000, // of scopes and subsets
} as const satisfies Partial<DecodeLimits>

/**
 * The format of a frame. It is read from the frame itself and never found by trying one decoder after the other:
 * half of all JSON texts would pass for some envelope.
 *
 * @throws ProtocolError for a binary frame of neither format
 */
export function formatOfFrame(frame: Frame): WireFormat {
  if (!frame.isBinary) return 'json'
  switch (frame.bytes[0]) {
    case 0x0a: // the tag of field 1, `type`, which every client writes first
      return 'protobuf'
    case 0x7b: // {
      return 'json'
    default:
      throw protocolError('A binary frame must start with 0x0A (protobuf) or 0x7B (JSON).')
  }
}

/**
 * Decodes one frame of a client.
 *
 * @throws ProtocolError PROTOCOL_ERROR, or MESSAGE_TOO_LARGE before anything is decoded
 */
export function decodeFrame(frame: Frame, limits: DecodeLimits): ReceivedMessage {
  const { bytes } = frame
  if (bytes.length > limits.maxFrameBytes) {
    throw new ProtocolError(
      'MESSAGE_TOO_LARGE',
      `The message takes ${bytes.length} bytes; the limit is ${limits.maxFrameBytes}.`,
    )
  }
  if (formatOfFrame(frame) === 'protobuf') return decodeProtobufMessage(bytes, limits)
  if (!isUtf8(bytes)) throw protocolError('The frame is not valid UTF-8.')
  return decodeJsonMessage(asBuffer(bytes).toString('utf8'), limits)
}

/**
 * Encodes one frame. Presence and document updates have no binary form and are always JSON; clients tell the two
 * apart as `formatOfFrame` does.
 */
export function encodeFrame(message: SyncMessage, format: WireFormat): Frame {
  const isBinary =
    format === 'protobuf' && message.type !== 'awareness-update' && message.type !== 'yjs-doc-update'
  const bytes = isBinary ? encodeProtobufMessage(message) : Buffer.from(encodeJsonMessage(message))
  return { isBinary, bytes }
}

/** An operation batch without its operations. */
export type DeliveryHeader = Omit<OperationBatchMessage, 'type' | 'operations'>

/**
 * Encodes a batch of operations from their stored JSON. For JSON nothing is parsed: the texts are joined and
 * written into one buffer.
 *
 * @param wireJsons as the store holds them, in delivery order
 */
export function encodeDeliveryFrame(
  header: DeliveryHeader,
  wireJsons: readonly string[],
  format: WireFormat,
): Frame {
  if (format === 'protobuf') {
    const operations = wireJsons.map(operationOfWireJson)
    return encodeFrame({ type: 'operation-batch', ...header, operations }, format)
  }
  const { messageId, ...rest } = header
  // Joined in one go, because joining parts would copy everything once more.
  const texts = wireJsons.length === 0 ? [''] : wireJsons.slice()
  texts[0] = `{"type":"operation-batch","messageId":${JSON.stringify(messageId)},"operations":[${texts[0]}`
  texts[texts.length - 1] += `],${JSON.stringify(rest).slice(1)}`
  return { isBinary: false, bytes: Buffer.from(texts.join(',')) }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
