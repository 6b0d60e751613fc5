import { assertNever } from '../core/errors.ts'
import { describeValue } from './json-value.ts'
import { ENVELOPE_TABLE, type ProtoEnvelope, type ProtoVectorEntry } from './kora-sync-proto.ts'
import { protocolError } from './message-reader.ts'
import type { ReceivedMessage, SyncMessage, WireVersionVector } from './messages.ts'
import { OPERATION_BOUNDS } from './parse-operation.ts'
import { operationToProto, protoToOperation } from './protobuf-operation.ts'
import { decodeProtobuf, encodeProtobuf, type RepeatBounds } from './protobuf-table.ts'
import { type DecodeLimits, receiveMessage } from './receive.ts'

/**
 * Decodes one message of a client from its binary form: the envelope within the bounds of `limits`, then the same
 * checks as for JSON.
 *
 * @throws ProtocolError for anything but a valid message of a client
 * @see docs/protocol.md, "Binary form"
 */
export function decodeProtobufMessage(bytes: Uint8Array, limits: DecodeLimits): ReceivedMessage {
  const bounds = {
    versionVector: limits.maxVectorEntries,
    supportedWireFormats: 16,
    operations: limits.maxBatchOperations,
    causalDeps: { read: OPERATION_BOUNDS.causalDeps + 1 }, // one more, because too many are refused by name, as in JSON
  }
  return receiveMessage(decodeEnvelope(bytes, bounds, limits.maxOperationBytes), limits)
}

/**
 * Decodes a message of either side as JSON would have carried it, with the clients' defaults for missing
 * properties. The properties are not checked.
 *
 * @param maxOperationBytes larger values are not parsed, but replaced by one that is too large as well
 * @throws ProtocolError for bytes that are not an envelope, and for an unknown type
 */
export function decodeEnvelope(
  bytes: Uint8Array,
  bounds: RepeatBounds,
  maxOperationBytes = Number.MAX_SAFE_INTEGER,
): object {
  // The tables and this type are generated from the same .proto file.
  const envelope = decodeProtobuf(ENVELOPE_TABLE, bytes, bounds) as ProtoEnvelope
  return envelopeToMessage(envelope, maxOperationBytes)
}

/**
 * Encodes a message in its binary form. Properties for which that has no field are lost: the scopes, queries and
 * cursors of a handshake, the supported schema versions of its answer, `cursor` and `totalBatches` of a batch, and
 * all but the ids of presence and document updates.
 */
export function encodeProtobufMessage(message: SyncMessage): Uint8Array {
  return encodeProtobuf(ENVELOPE_TABLE, messageToEnvelope(message))
}

function messageToEnvelope(message: SyncMessage): ProtoEnvelope {
  const { type, messageId } = message
  switch (type) {
    case 'handshake':
      return copyDefined({
        type,
        messageId,
        nodeId: message.nodeId,
        versionVector: vectorToEntries(message.versionVector),
        schemaVersion: message.schemaVersion,
        authToken: message.authToken,
        supportedWireFormats: message.supportedWireFormats,
        lastDeliverySequence: message.lastDeliverySequence,
      })
    case 'handshake-response':
      return copyDefined({
        type,
        messageId,
        nodeId: message.nodeId,
        versionVector: vectorToEntries(message.versionVector),
        schemaVersion: message.schemaVersion,
        accepted: message.accepted,
        rejectReason: message.rejectReason,
        selectedWireFormat: message.selectedWireFormat,
        serverTime: message.serverTime,
        blobStorageEnabled: message.blobStorageEnabled,
        serverMaxDeliverySequence: message.serverMaxDeliverySequence,
      })
    case 'operation-batch':
      return copyDefined({
        type,
        messageId,
        operations: message.operations.map(operationToProto),
        isFinal: message.isFinal,
        batchIndex: message.batchIndex,
        baseDeliverySequence: message.baseDeliverySequence,
        maxDeliverySequence: message.maxDeliverySequence,
      })
    case 'acknowledgment':
      return copyDefined({
        type,
        messageId,
        acknowledgedMessageId: message.acknowledgedMessageId,
        lastSequenceNumber: message.lastSequenceNumber,
        deliverySequence: message.deliverySequence,
      })
    case 'error': {
      const { code, message: text, retriable } = message
      return { type, messageId, errorCode: code, errorMessage: text, retriable }
    }
    case 'operation-rejected': {
      const { code, message: text, retriable, operationId, collection, recordId } = message
      return {
        type,
        messageId,
        errorCode: code,
        errorMessage: text,
        retriable,
        operationId,
        collection,
        recordId,
      }
    }
    case 'blob-chunk-request':
      return { type, messageId, requestId: message.requestId, hash: message.hash }
    case 'blob-chunk-response': {
      const { requestId, bytes } = message
      return { type, messageId, requestId, chunkBytes: bytes ?? '', hasBytes: bytes !== null }
    }
    case 'blob-chunk-push':
      return { type, messageId, hash: message.hash, chunkBytes: message.bytes }
    case 'awareness-update':
    case 'yjs-doc-update':
      return { type, messageId }
    default:
      return assertNever(type)
  }
}

function envelopeToMessage(envelope: ProtoEnvelope, maxOperationBytes: number): object {
  const { type = 'error', messageId = '', requestId = '', hash = '', retriable = false } = envelope
  switch (type) {
    case 'handshake':
    case 'handshake-response':
      return { type, messageId, ...(type === 'handshake' ? readHandshake(envelope) : readResponse(envelope)) }
    case 'operation-batch':
      return copyDefined({
        type,
        messageId,
        operations: (envelope.operations ?? []).map((operation) =>
          protoToOperation(operation, maxOperationBytes),
        ),
        isFinal: envelope.isFinal ?? false,
        batchIndex: envelope.batchIndex ?? 0,
        baseDeliverySequence: envelope.baseDeliverySequence,
        maxDeliverySequence: envelope.maxDeliverySequence,
      })
    case 'acknowledgment':
      return copyDefined({
        type,
        messageId,
        acknowledgedMessageId: envelope.acknowledgedMessageId ?? '',
        lastSequenceNumber: envelope.lastSequenceNumber ?? 0,
        deliverySequence: envelope.deliverySequence,
      })
    case 'error': {
      const { errorCode: code = 'UNKNOWN', errorMessage: message = 'Unknown error' } = envelope
      return { type, messageId, code, message, retriable }
    }
    case 'operation-rejected': {
      const { errorCode: code = 'REJECTED', errorMessage: message = '' } = envelope
      const { operationId = '', collection = '', recordId = '' } = envelope
      return { type, messageId, operationId, collection, recordId, code, message, retriable }
    }
    case 'blob-chunk-request':
      return { type, messageId, requestId, hash }
    case 'blob-chunk-response':
      return {
        type,
        messageId,
        requestId,
        bytes: envelope.hasBytes === true ? (envelope.chunkBytes ?? '') : null,
      }
    case 'blob-chunk-push':
      return { type, messageId, hash, bytes: envelope.chunkBytes ?? '' }
    case 'awareness-update':
    case 'yjs-doc-update':
      throw protocolError(`${type} has no binary form; send it as JSON.`)
    default:
      throw protocolError(`Unknown message type ${describeValue(type)}.`)
  }
}

function readHandshake(envelope: ProtoEnvelope): object {
  return copyDefined({
    nodeId: envelope.nodeId ?? '',
    versionVector: entriesToVector(envelope.versionVector),
    schemaVersion: envelope.schemaVersion ?? 0,
    authToken: envelope.authToken,
    supportedWireFormats: envelope.supportedWireFormats?.filter(
      (format) => format === 'json' || format === 'protobuf',
    ),
    lastDeliverySequence: envelope.lastDeliverySequence,
  })
}

function readResponse(envelope: ProtoEnvelope): object {
  return copyDefined({
    nodeId: envelope.nodeId ?? '',
    versionVector: entriesToVector(envelope.versionVector),
    schemaVersion: envelope.schemaVersion ?? 0,
    accepted: envelope.accepted ?? false,
    rejectReason: envelope.rejectReason,
    selectedWireFormat: envelope.selectedWireFormat,
    serverTime: envelope.serverTime,
    blobStorageEnabled: envelope.blobStorageEnabled,
    serverMaxDeliverySequence: envelope.serverMaxDeliverySequence,
  })
}

function vectorToEntries(vector: WireVersionVector): readonly ProtoVectorEntry[] {
  return Object.entries(vector).map(([key, value]) => ({ key, value }))
}

function entriesToVector(entries: readonly ProtoVectorEntry[] = []): WireVersionVector {
  const vector: Record<string, number> = Object.create(null)
  for (const { key = '', value = 0 } of entries) vector[key] = value
  return vector
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Copies an object without its undefined properties, because absent and undefined differ on the wire. */
function copyDefined<T extends object>(properties: T): Defined<T> {
  const defined = Object.entries(properties).filter(([, value]) => value !== undefined)
  return Object.fromEntries(defined) as Defined<T>
}
