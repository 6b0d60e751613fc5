import { ProtocolError } from '../core/errors.ts'
import type { JsonValue } from '../core/operation.ts'
import type { QuerySubset, ScopeFilter, ScopeMap } from '../core/scope.ts'
import {
  describeValue,
  findJsonProblem,
  findTextProblem,
  holdsControlCharacter,
  isJsonObject,
} from './json-value.ts'
import { MessageReader, protocolError } from './message-reader.ts'
import type {
  AcknowledgmentMessage,
  AwarenessState,
  BlobChunkPushMessage,
  BlobChunkRequestMessage,
  BlobChunkResponseMessage,
  ErrorMessage,
  HandshakeMessage,
  ReceivedAwarenessMessage,
  ReceivedBatchMessage,
  ReceivedMessage,
  WireFormat,
  WireVersionVector,
  YjsDocUpdateMessage,
} from './messages.ts'
import { OPERATION_BOUNDS, parseOperation } from './parse-operation.ts'

/** Limits on what a server decodes from one client. */
export interface DecodeLimits {
  /** Bytes of one frame; a larger one is refused before anything is decoded. */
  readonly maxFrameBytes: number
  /** Arrays and objects of one JSON frame. Each costs more to parse than 50 bytes of text. */
  readonly maxContainers: number
  /** Bytes of the stored JSON of one operation; larger operations are refused one by one. */
  readonly maxOperationBytes: number
  readonly maxBatchOperations: number
  /** Nodes in the version vector of a handshake. */
  readonly maxVectorEntries: number
  /** Live queries of a handshake. */
  readonly maxSubsets: number
  /** Collections in a requested scope. */
  readonly maxScopeCollections: number
  /** Fields in one filter of a scope or a subset. */
  readonly maxFilterFields: number
  /** Bytes of JSON in one filter. */
  readonly maxFilterBytes: number
  /** Entries in one presence message; clients send one, their own. */
  readonly maxPresenceStates: number
  /** Characters of all text in one presence state. */
  readonly maxPresenceLength: number
}

/**
 * Turns one decoded message of a client into a typed value. Everything is rebuilt from the properties that the
 * protocol knows, and objects whose keys the client chooses have no prototype.
 *
 * @param value from JSON.parse or the binary decoder
 * @throws ProtocolError naming the property; a malformed operation is not an error but a refusal in `operations`,
 *   and a malformed presence state is left out
 * @see docs/protocol.md, "Messages"
 */
export function receiveMessage(value: unknown, limits: DecodeLimits): ReceivedMessage {
  if (!isJsonObject(value)) throw protocolError(`A message must be an object, not ${describeValue(value)}.`)
  const { type } = value
  switch (type) {
    case 'operation-batch':
      return receiveBatch(new MessageReader(value, type), limits)
    case 'acknowledgment':
      return receiveAcknowledgment(new MessageReader(value, type))
    case 'handshake':
      return receiveHandshake(new MessageReader(value, type), limits)
    case 'awareness-update':
      return receiveAwareness(new MessageReader(value, type), limits)
    case 'yjs-doc-update':
      return receiveYjsUpdate(new MessageReader(value, type))
    case 'blob-chunk-request':
      return receiveBlobRequest(new MessageReader(value, type))
    case 'blob-chunk-response':
      return receiveBlobResponse(new MessageReader(value, type))
    case 'blob-chunk-push':
      return receiveBlobPush(new MessageReader(value, type))
    case 'error':
      return receiveError(new MessageReader(value, type))
    case 'handshake-response':
    case 'operation-rejected':
      throw protocolError(`A message of type ${type} is sent by servers only.`)
    default:
      throw protocolError(`Unknown message type ${describeValue(type)}.`)
  }
}

const ID = { maxLength: 255 } // message and request ids are UUIDs or short counters
const NODE_ID = { minLength: 1, maxLength: OPERATION_BOUNDS.nodeId }
const COLLECTION = { minLength: 1, maxLength: OPERATION_BOUNDS.collection }
const RECORD_ID = { minLength: 1, maxLength: OPERATION_BOUNDS.recordId }
const FIELD = { minLength: 1, maxLength: OPERATION_BOUNDS.field }
const TOKEN = { maxLength: 16_384 } // a JWT with many claims stays below 8 KB
const CURSOR = { maxLength: 1024 } // holds one operation id
const ERROR_TEXT = { maxLength: 4096 }
const MAX_WIRE_FORMATS = 16 // two exist

function receiveBatch(reader: MessageReader, limits: DecodeLimits): ReceivedBatchMessage {
  return {
    type: 'operation-batch',
    messageId: reader.text('messageId', ID),
    operations: reader
      .list('operations', limits.maxBatchOperations)
      .map((operation) => parseOperation(operation, limits.maxOperationBytes, true)),
    isFinal: reader.flag('isFinal'),
    batchIndex: reader.integer('batchIndex', 0),
    ...(reader.has('cursor') && { cursor: reader.text('cursor', CURSOR) }),
    ...(reader.has('totalBatches') && { totalBatches: reader.integer('totalBatches', 0) }),
  }
}

function receiveAcknowledgment(reader: MessageReader): AcknowledgmentMessage {
  return {
    type: 'acknowledgment',
    messageId: reader.text('messageId', ID),
    acknowledgedMessageId: reader.text('acknowledgedMessageId', ID),
    lastSequenceNumber: reader.integer('lastSequenceNumber'),
    ...(reader.has('deliverySequence') && { deliverySequence: reader.integer('deliverySequence', 0) }),
  }
}

function receiveHandshake(reader: MessageReader, limits: DecodeLimits): HandshakeMessage {
  return {
    type: 'handshake',
    messageId: reader.text('messageId', ID),
    nodeId: readNodeId(reader),
    versionVector: readVersionVector(reader, limits),
    schemaVersion: reader.integer('schemaVersion', 0),
    ...(reader.has('authToken') && { authToken: reader.text('authToken', TOKEN) }),
    ...(reader.has('supportedWireFormats') && { supportedWireFormats: readWireFormats(reader) }),
    ...(reader.has('syncScope') && { syncScope: readScope(reader, limits) }),
    ...(reader.has('syncQueries') && { syncQueries: readSubsets(reader, limits) }),
    ...(reader.has('deltaCursor') && { deltaCursor: reader.text('deltaCursor', CURSOR) }),
    ...(reader.has('lastDeliverySequence') && {
      lastDeliverySequence: reader.integer('lastDeliverySequence', 0),
    }),
  }
}

/** Reads a node id, which becomes part of keys and logs, together with what the server appends to it. */
function readNodeId(reader: MessageReader): string {
  const nodeId = reader.text('nodeId', NODE_ID)
  if (holdsControlCharacter(nodeId)) throw reader.error('nodeId', ' holds a control character')
  return nodeId
}

function readVersionVector(reader: MessageReader, limits: DecodeLimits): WireVersionVector {
  const vector: Record<string, number> = Object.create(null)
  const nodeIds = reader.keys('versionVector', limits.maxVectorEntries)
  const entries = reader.object('versionVector')
  for (const nodeId of nodeIds) vector[nodeId] = entries.integer(nodeId, 0)
  return vector
}

/** Ignores formats of later clients, so that they can still agree on one of ours. */
function readWireFormats(reader: MessageReader): readonly WireFormat[] {
  return reader
    .list('supportedWireFormats', MAX_WIRE_FORMATS)
    .filter((format): format is WireFormat => format === 'json' || format === 'protobuf')
}

function readScope(reader: MessageReader, limits: DecodeLimits): ScopeMap {
  const scope: Record<string, ScopeFilter> = Object.create(null)
  const collections = reader.keys('syncScope', limits.maxScopeCollections)
  const filters = reader.object('syncScope')
  for (const collection of collections) scope[collection] = readFilter(filters, collection, limits)
  return scope
}

function readSubsets(reader: MessageReader, limits: DecodeLimits): readonly QuerySubset[] {
  return reader.list('syncQueries', limits.maxSubsets).map((value, index) => {
    const subset = new MessageReader(value, `handshake.syncQueries[${index}]`)
    return { collection: subset.text('collection', COLLECTION), where: readFilter(subset, 'where', limits) }
  })
}

/**
 * Reads a filter. Arrays and objects match nothing but are kept, because a client compares the scope that it asked
 * for with the answer.
 */
function readFilter(reader: MessageReader, property: string, limits: DecodeLimits): ScopeFilter {
  const filter: Record<string, JsonValue> = Object.create(null)
  const fields = reader.keys(property, limits.maxFilterFields)
  const source = reader.object(property)
  const walk = { remainingBytes: limits.maxFilterBytes, isAltered: false }
  for (const field of fields) {
    const value = source.unchecked(field)
    const problem = findJsonProblem(value, 1, walk) ?? findTextProblem(value)
    if (problem !== null) throw source.error(field, problem)
    filter[field] = value as JsonValue // findJsonProblem has checked it
  }
  return filter
}

function receiveAwareness(reader: MessageReader, limits: DecodeLimits): ReceivedAwarenessMessage {
  const states: Record<string, AwarenessState | null> = Object.create(null)
  const clientIds = reader.keys('states', limits.maxPresenceStates)
  const source = reader.object('states')
  let problem: string | undefined
  for (const clientId of clientIds) {
    try {
      states[clientId] =
        source.unchecked(clientId) === null ? null : readAwarenessState(source, clientId, limits)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      problem = error.message
    }
  }
  return {
    type: 'awareness-update',
    messageId: reader.text('messageId', ID),
    clientId: reader.integer('clientId', 0),
    states,
    ...(problem !== undefined && { problem }),
  }
}

/** Reads a presence state. Apps fill it by hand, so null counts as absent. */
function readAwarenessState(reader: MessageReader, clientId: string, limits: DecodeLimits): AwarenessState {
  const source = reader.object(clientId)
  const user = source.object('user')
  const text = { maxLength: limits.maxPresenceLength }
  const state: AwarenessState = {
    user: {
      name: user.text('name', text),
      color: user.text('color', text),
      ...(user.hasValue('avatar') && { avatar: user.text('avatar', text) }),
    },
    ...(source.hasValue('cursor') && { cursor: readCursor(source.object('cursor')) }),
  }
  const { name, color, avatar = '' } = state.user
  const length = name.length + color.length + avatar.length
  if (length > limits.maxPresenceLength) {
    throw reader.error(
      clientId,
      ` has ${length} characters of text; at most ${limits.maxPresenceLength} are accepted`,
    )
  }
  return state
}

function readCursor(reader: MessageReader): NonNullable<AwarenessState['cursor']> {
  return {
    collection: reader.text('collection', COLLECTION),
    recordId: reader.text('recordId', RECORD_ID),
    field: reader.text('field', FIELD),
    anchor: reader.number('anchor'),
    head: reader.number('head'),
  }
}

function receiveYjsUpdate(reader: MessageReader): YjsDocUpdateMessage {
  return {
    type: 'yjs-doc-update',
    messageId: reader.text('messageId', ID),
    collection: reader.text('collection', COLLECTION),
    recordId: reader.text('recordId', RECORD_ID),
    field: reader.text('field', FIELD),
    update: reader.base64('update'),
  }
}

function receiveBlobRequest(reader: MessageReader): BlobChunkRequestMessage {
  return {
    type: 'blob-chunk-request',
    messageId: reader.text('messageId', ID),
    requestId: reader.text('requestId', ID),
    hash: reader.hash('hash'),
  }
}

function receiveBlobResponse(reader: MessageReader): BlobChunkResponseMessage {
  return {
    type: 'blob-chunk-response',
    messageId: reader.text('messageId', ID),
    requestId: reader.text('requestId', ID),
    bytes: reader.unchecked('bytes') === null ? null : reader.base64('bytes'),
  }
}

function receiveBlobPush(reader: MessageReader): BlobChunkPushMessage {
  return {
    type: 'blob-chunk-push',
    messageId: reader.text('messageId', ID),
    hash: reader.hash('hash'),
    bytes: reader.base64('bytes'),
  }
}

function receiveError(reader: MessageReader): ErrorMessage {
  return {
    type: 'error',
    messageId: reader.text('messageId', ID),
    code: reader.text('code', ID),
    message: reader.text('message', ERROR_TEXT),
    retriable: reader.flag('retriable'),
  }
}
