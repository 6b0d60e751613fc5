import type { Operation } from '../core/operation.ts'
import type { QuerySubset, ScopeMap } from '../core/scope.ts'

/**
 * The messages of the sync protocol. Optional properties are absent, never undefined.
 * @see docs/protocol.md
 */

export type WireFormat = 'json' | 'protobuf'

/** Node id → sequence number as a plain object, the wire form of a version vector. */
export type WireVersionVector = { readonly [nodeId: string]: number }

export interface HandshakeMessage {
  readonly type: 'handshake'
  readonly messageId: string
  readonly nodeId: string
  readonly versionVector: WireVersionVector
  readonly schemaVersion: number
  readonly authToken?: string
  readonly supportedWireFormats?: readonly WireFormat[]
  readonly syncScope?: ScopeMap
  readonly syncQueries?: readonly QuerySubset[]
  /** Position where a client without watermark stopped reading. */
  readonly deltaCursor?: string
  /** The watermark: the highest delivery sequence applied. Absent for clients without one. */
  readonly lastDeliverySequence?: number
}

export interface HandshakeResponseMessage {
  readonly type: 'handshake-response'
  readonly messageId: string
  readonly nodeId: string
  readonly versionVector: WireVersionVector
  readonly schemaVersion: number
  readonly accepted: boolean
  readonly rejectReason?: string
  readonly supportedSchemaMin?: number
  readonly supportedSchemaMax?: number
  readonly selectedWireFormat?: WireFormat
  readonly acceptedScope?: ScopeMap
  /** ms since the epoch */
  readonly serverTime?: number
  readonly blobStorageEnabled?: boolean
  readonly serverMaxDeliverySequence?: number
}

export interface OperationBatchMessage {
  readonly type: 'operation-batch'
  readonly messageId: string
  readonly operations: readonly Operation[]
  readonly isFinal: boolean
  readonly batchIndex: number
  readonly cursor?: string
  readonly totalBatches?: number
  readonly baseDeliverySequence?: number
  readonly maxDeliverySequence?: number
}

export interface AcknowledgmentMessage {
  readonly type: 'acknowledgment'
  readonly messageId: string
  readonly acknowledgedMessageId: string
  readonly lastSequenceNumber: number
  readonly deliverySequence?: number
}

export interface ErrorMessage {
  readonly type: 'error'
  readonly messageId: string
  readonly code: string
  readonly message: string
  readonly retriable: boolean
}

export interface OperationRejectedMessage {
  readonly type: 'operation-rejected'
  readonly messageId: string
  readonly operationId: string
  readonly collection: string
  readonly recordId: string
  readonly code: string
  readonly message: string
  readonly retriable: boolean
}

export interface AwarenessState {
  readonly user: { readonly name: string; readonly color: string; readonly avatar?: string }
  readonly cursor?: {
    readonly collection: string
    readonly recordId: string
    readonly field: string
    readonly anchor: number
    readonly head: number
  }
}

export interface AwarenessUpdateMessage {
  readonly type: 'awareness-update'
  readonly messageId: string
  readonly clientId: number
  readonly states: { readonly [clientId: string]: AwarenessState | null }
}

export interface YjsDocUpdateMessage {
  readonly type: 'yjs-doc-update'
  readonly messageId: string
  readonly collection: string
  readonly recordId: string
  readonly field: string
  /** base64 of a Yjs update */
  readonly update: string
}

export interface BlobChunkRequestMessage {
  readonly type: 'blob-chunk-request'
  readonly messageId: string
  readonly requestId: string
  readonly hash: string
}

export interface BlobChunkResponseMessage {
  readonly type: 'blob-chunk-response'
  readonly messageId: string
  readonly requestId: string
  /** base64, or null when the sender does not have the chunk */
  readonly bytes: string | null
}

export interface BlobChunkPushMessage {
  readonly type: 'blob-chunk-push'
  readonly messageId: string
  readonly hash: string
  readonly bytes: string
}

export type SyncMessage =
  | HandshakeMessage
  | HandshakeResponseMessage
  | OperationBatchMessage
  | AcknowledgmentMessage
  | ErrorMessage
  | OperationRejectedMessage
  | AwarenessUpdateMessage
  | YjsDocUpdateMessage
  | BlobChunkRequestMessage
  | BlobChunkResponseMessage
  | BlobChunkPushMessage

/**
 * An operation batch as a server receives it: a malformed operation becomes a refusal of its own, and the rest of
 * the batch goes on.
 */
export interface ReceivedBatchMessage extends Omit<OperationBatchMessage, 'operations'> {
  readonly operations: readonly ReceivedOperation[]
}

export type ReceivedOperation =
  | {
      readonly ok: true
      readonly operation: Operation
      /** The canonical serialization, made once, which is stored and sent. */
      readonly wireJson: string
    }
  | {
      readonly ok: false
      /** The readable parts of the operation, for the answer to its author. '' where unreadable. */
      readonly operationId: string
      readonly collection: string
      readonly recordId: string
      readonly nodeId: string
      /** 0 when unreadable */
      readonly sequenceNumber: number
      readonly refusal: import('../core/refusal.ts').Refusal
    }

/**
 * Presence as a server receives it: a malformed state is left out, and the connection goes on. Ending it would not
 * help, because clients send their state again whenever they return.
 */
export interface ReceivedAwarenessMessage extends AwarenessUpdateMessage {
  /** The problem of a state that was left out. */
  readonly problem?: string
}

/** Any message that a client may send. `error` is accepted and ignored; messages that only servers send are refused. */
export type ReceivedMessage =
  | HandshakeMessage
  | ReceivedBatchMessage
  | AcknowledgmentMessage
  | ErrorMessage
  | ReceivedAwarenessMessage
  | YjsDocUpdateMessage
  | BlobChunkRequestMessage
  | BlobChunkResponseMessage
  | BlobChunkPushMessage
