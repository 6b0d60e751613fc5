import protobuf from 'protobufjs'
import type { Operation } from '../../../src/core/operation.ts'
import type { SyncMessage } from '../../../src/protocol/messages.ts'

/**
 * The binary form, read with a general protobuf library from the message definitions below. Only
 * what clients exchange about operations: presence and documents have no binary form.
 *
 * @see docs/protocol.md, "Protobuf"
 */
const DEFINITIONS = `
  syntax = "proto3";
  message VectorEntry { string key = 1; int64 value = 2; }
  message Timestamp { int64 wallTime = 1; uint32 logical = 2; string nodeId = 3; }
  message Operation {
    string id = 1; string nodeId = 2; string type = 3; string collection = 4; string recordId = 5;
    string dataJson = 6; string previousDataJson = 7; Timestamp timestamp = 8; int64 sequenceNumber = 9;
    repeated string causalDeps = 10; int32 schemaVersion = 11; bool hasData = 12; bool hasPreviousData = 13;
  }
  message Envelope {
    string type = 1; string messageId = 2; string nodeId = 3; repeated VectorEntry versionVector = 4;
    int32 schemaVersion = 5; optional string authToken = 6; repeated string supportedWireFormats = 7;
    optional bool accepted = 8; optional string rejectReason = 9; optional string selectedWireFormat = 10;
    repeated Operation operations = 11; optional bool isFinal = 12; optional uint32 batchIndex = 13;
    optional string acknowledgedMessageId = 14; optional int64 lastSequenceNumber = 15;
    optional string code = 16; optional string message = 17; optional bool retriable = 18;
    optional int64 serverTime = 19; optional string requestId = 20; optional string hash = 21;
    optional string bytes = 22; optional bool hasBytes = 23; optional bool blobStorageEnabled = 25;
    optional string operationId = 26; optional string collection = 27; optional string recordId = 28;
    optional int64 lastDeliverySequence = 29; optional int64 baseDeliverySequence = 30;
    optional int64 maxDeliverySequence = 31; optional int64 deliverySequence = 32;
    optional int64 serverMaxDeliverySequence = 33;
  }`

const ATOMIC_OPS_KEY = '__kora_atomic_ops__'
const TRANSACTION_KEY = '__kora_tx_id__'
const MUTATION_KEY = '__kora_mutation__'

const Envelope = protobuf.parse(DEFINITIONS, { keepCase: true }).root.lookupType('Envelope')

type Fields = { [property: string]: unknown }

export function encodeEnvelope(message: SyncMessage): Uint8Array {
  const fields: Fields = { ...message }
  if ('versionVector' in message) {
    fields.versionVector = Object.entries(message.versionVector).map(([key, value]) => ({ key, value }))
  }
  if ('operations' in message) fields.operations = message.operations.map(operationToFields)
  return Envelope.encode(Envelope.fromObject(fields)).finish()
}

export function decodeEnvelope(bytes: Uint8Array): Fields {
  const fields: Fields = Envelope.toObject(Envelope.decode(bytes), { longs: Number })
  if (fields.type === 'handshake-response') {
    const entries = (fields.versionVector ?? []) as { key: string; value: number }[]
    fields.versionVector = Object.fromEntries(entries.map(({ key, value }) => [key, value ?? 0]))
  }
  if (fields.type === 'operation-batch') {
    fields.operations = ((fields.operations ?? []) as Fields[]).map(fieldsToOperation)
  }
  if (fields.type === 'blob-chunk-response') fields.bytes = fields.hasBytes ? (fields.bytes ?? '') : null
  return fields
}

function operationToFields(operation: Operation): Fields {
  const { data, previousData, atomicOps, transactionId, mutationName, ...rest } = operation
  const dataFields: Fields = { ...data }
  if (data !== null && atomicOps && Object.keys(atomicOps).length > 0) dataFields[ATOMIC_OPS_KEY] = atomicOps
  if (transactionId !== undefined) dataFields[TRANSACTION_KEY] = transactionId
  if (mutationName !== undefined) dataFields[MUTATION_KEY] = mutationName
  const hasDataJson = data !== null || Object.keys(dataFields).length > 0
  return {
    ...rest,
    ...(hasDataJson ? { dataJson: JSON.stringify(dataFields) } : {}),
    ...(previousData === null ? {} : { previousDataJson: JSON.stringify(previousData) }),
    hasData: data !== null,
    hasPreviousData: previousData !== null,
  }
}

function fieldsToOperation(fields: Fields): Fields {
  const { dataJson, previousDataJson, hasData, hasPreviousData, causalDeps, timestamp, ...rest } = fields
  const {
    [ATOMIC_OPS_KEY]: atomicOps,
    [TRANSACTION_KEY]: transactionId,
    [MUTATION_KEY]: mutationName,
    ...data
  } = (dataJson ? JSON.parse(String(dataJson)) : {}) as Fields
  return {
    ...rest,
    timestamp: { wallTime: 0, logical: 0, nodeId: '', ...(timestamp as Fields) },
    data: hasData && Object.keys(data).length > 0 ? data : null,
    previousData: hasPreviousData ? JSON.parse(String(previousDataJson)) : null,
    causalDeps: causalDeps ?? [],
    ...(atomicOps === undefined ? {} : { atomicOps }),
    ...(transactionId === undefined ? {} : { transactionId }),
    ...(mutationName === undefined ? {} : { mutationName }),
  }
}
