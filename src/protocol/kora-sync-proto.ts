// Generated from kora-sync.proto by `npm run generate`. Changes here are overwritten.

import type { ProtobufTable } from './protobuf-table.ts'

export interface ProtoVectorEntry {
  readonly key?: string
  readonly value?: number
}

export interface ProtoTimestamp {
  readonly wallTime?: number
  readonly logical?: number
  readonly nodeId?: string
}

export interface ProtoOperation {
  readonly id?: string
  readonly nodeId?: string
  readonly type?: string
  readonly collection?: string
  readonly recordId?: string
  readonly dataJson?: string
  readonly previousDataJson?: string
  readonly timestamp?: ProtoTimestamp
  readonly sequenceNumber?: number
  readonly causalDeps?: readonly string[]
  readonly schemaVersion?: number
  readonly hasData?: boolean
  readonly hasPreviousData?: boolean
}

export interface ProtoEnvelope {
  readonly type?: string
  readonly messageId?: string
  readonly nodeId?: string
  readonly versionVector?: readonly ProtoVectorEntry[]
  readonly schemaVersion?: number
  readonly authToken?: string
  readonly supportedWireFormats?: readonly string[]
  readonly accepted?: boolean
  readonly rejectReason?: string
  readonly selectedWireFormat?: string
  readonly operations?: readonly ProtoOperation[]
  readonly isFinal?: boolean
  readonly batchIndex?: number
  readonly acknowledgedMessageId?: string
  readonly lastSequenceNumber?: number
  readonly errorCode?: string
  readonly errorMessage?: string
  readonly retriable?: boolean
  readonly serverTime?: number
  readonly requestId?: string
  readonly hash?: string
  readonly chunkBytes?: string
  readonly hasBytes?: boolean
  readonly blobStorageEnabled?: boolean
  readonly operationId?: string
  readonly collection?: string
  readonly recordId?: string
  readonly lastDeliverySequence?: number
  readonly baseDeliverySequence?: number
  readonly maxDeliverySequence?: number
  readonly deliverySequence?: number
  readonly serverMaxDeliverySequence?: number
}

export const VECTOR_ENTRY_TABLE: ProtobufTable = {
  name: 'VectorEntry',
  fields: [
    { number: 1, name: 'key', kind: 'string', isOptional: true },
    { number: 2, name: 'value', kind: 'int64', isOptional: true },
  ],
}

export const TIMESTAMP_TABLE: ProtobufTable = {
  name: 'Timestamp',
  fields: [
    { number: 1, name: 'wallTime', kind: 'int64', isOptional: true },
    { number: 2, name: 'logical', kind: 'uint32', isOptional: true },
    { number: 3, name: 'nodeId', kind: 'string', isOptional: true },
  ],
}

export const OPERATION_TABLE: ProtobufTable = {
  name: 'Operation',
  fields: [
    { number: 1, name: 'id', kind: 'string' },
    { number: 2, name: 'nodeId', kind: 'string' },
    { number: 3, name: 'type', kind: 'string' },
    { number: 4, name: 'collection', kind: 'string' },
    { number: 5, name: 'recordId', kind: 'string' },
    { number: 6, name: 'dataJson', kind: 'string' },
    { number: 7, name: 'previousDataJson', kind: 'string' },
    { number: 8, name: 'timestamp', kind: TIMESTAMP_TABLE },
    { number: 9, name: 'sequenceNumber', kind: 'int64', isOptional: true },
    { number: 10, name: 'causalDeps', kind: 'string', isRepeated: true },
    { number: 11, name: 'schemaVersion', kind: 'int32', isOptional: true },
    { number: 12, name: 'hasData', kind: 'bool', isOptional: true },
    { number: 13, name: 'hasPreviousData', kind: 'bool', isOptional: true },
  ],
}

export const ENVELOPE_TABLE: ProtobufTable = {
  name: 'Envelope',
  fields: [
    { number: 1, name: 'type', kind: 'string' },
    { number: 2, name: 'messageId', kind: 'string' },
    { number: 3, name: 'nodeId', kind: 'string' },
    { number: 4, name: 'versionVector', kind: VECTOR_ENTRY_TABLE, isRepeated: true },
    { number: 5, name: 'schemaVersion', kind: 'int32', isOptional: true },
    { number: 6, name: 'authToken', kind: 'string' },
    { number: 7, name: 'supportedWireFormats', kind: 'string', isRepeated: true },
    { number: 8, name: 'accepted', kind: 'bool', isOptional: true },
    { number: 9, name: 'rejectReason', kind: 'string' },
    { number: 10, name: 'selectedWireFormat', kind: 'string' },
    { number: 11, name: 'operations', kind: OPERATION_TABLE, isRepeated: true },
    { number: 12, name: 'isFinal', kind: 'bool', isOptional: true },
    { number: 13, name: 'batchIndex', kind: 'uint32', isOptional: true },
    { number: 14, name: 'acknowledgedMessageId', kind: 'string' },
    { number: 15, name: 'lastSequenceNumber', kind: 'int64', isOptional: true },
    { number: 16, name: 'errorCode', kind: 'string' },
    { number: 17, name: 'errorMessage', kind: 'string' },
    { number: 18, name: 'retriable', kind: 'bool', isOptional: true },
    { number: 19, name: 'serverTime', kind: 'int64', isOptional: true },
    { number: 20, name: 'requestId', kind: 'string' },
    { number: 21, name: 'hash', kind: 'string' },
    { number: 22, name: 'chunkBytes', kind: 'string' },
    { number: 23, name: 'hasBytes', kind: 'bool', isOptional: true },
    { number: 25, name: 'blobStorageEnabled', kind: 'bool', isOptional: true },
    { number: 26, name: 'operationId', kind: 'string' },
    { number: 27, name: 'collection', kind: 'string' },
    { number: 28, name: 'recordId', kind: 'string' },
    { number: 29, name: 'lastDeliverySequence', kind: 'int64', isOptional: true },
    { number: 30, name: 'baseDeliverySequence', kind: 'int64', isOptional: true },
    { number: 31, name: 'maxDeliverySequence', kind: 'int64', isOptional: true },
    { number: 32, name: 'deliverySequence', kind: 'int64', isOptional: true },
    { number: 33, name: 'serverMaxDeliverySequence', kind: 'int64', isOptional: true },
  ],
}
