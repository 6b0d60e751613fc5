import type { JsonValue, Operation } from '../../../src/core/operation.ts'
import type { SyncMessage, WireFormat } from '../../../src/protocol/messages.ts'
import { decodeEnvelope, encodeEnvelope } from './protobuf.ts'

const SERVER_MESSAGE_TYPES = new Set([
  'handshake-response',
  'operation-batch',
  'acknowledgment',
  'error',
  'operation-rejected',
  'awareness-update',
  'yjs-doc-update',
  'blob-chunk-request',
  'blob-chunk-response',
])

/**
 * Written apart from the server's codecs, so that a mistake there does not cancel out here.
 *
 * @throws Error for a frame that a stock client would give up its connection over
 */
export function decodeServerMessage(data: string | Uint8Array): SyncMessage {
  const message = (typeof data === 'string' ? JSON.parse(data) : decodeEnvelope(data)) as SyncMessage
  if (!SERVER_MESSAGE_TYPES.has(message.type)) throw new Error(`unknown message type ${message.type}`)
  if (typeof message.messageId !== 'string') throw new Error(`${message.type} without a messageId`)
  if (message.type === 'operation-batch') {
    for (const operation of message.operations) assertOperation(operation)
  }
  return message
}

export function encodeClientMessage(message: SyncMessage, format: WireFormat): string | Uint8Array {
  return format === 'json' ? JSON.stringify(message) : encodeEnvelope(message)
}

function assertOperation(operation: Operation): void {
  const properties: readonly JsonValue[] = [
    operation.id,
    operation.nodeId,
    operation.collection,
    operation.recordId,
  ]
  if (properties.some((property) => typeof property !== 'string' || property === '')) {
    throw new Error(`operation without id, nodeId, collection or recordId: ${JSON.stringify(operation)}`)
  }
  if (!['insert', 'update', 'delete'].includes(operation.type))
    throw new Error(`operation type ${operation.type}`)
  if (!Number.isInteger(operation.timestamp?.wallTime) || !Array.isArray(operation.causalDeps)) {
    throw new Error(`malformed operation ${operation.id}`)
  }
}
