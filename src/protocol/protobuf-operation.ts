import type { Operation } from '../core/operation.ts'
import { isJsonObject } from './json-value.ts'
import type { ProtoOperation } from './kora-sync-proto.ts'
import { boundJson } from './scan-json.ts'

/**
 * Keys in the JSON of values for three properties that have no field in the binary form of an operation. A field of
 * the app with such a name is mistaken for one: its value is lost, but nothing worse.
 */
const ATOMIC_OPS_KEY = '__kora_atomic_ops__'
const TRANSACTION_ID_KEY = '__kora_tx_id__'
const MUTATION_NAME_KEY = '__kora_mutation__'

/** The binary form of an operation. Properties without a field are put into the JSON of its data. */
export function operationToProto(operation: Operation): ProtoOperation {
  const { data, previousData } = operation
  return {
    id: operation.id,
    nodeId: operation.nodeId,
    type: operation.type,
    collection: operation.collection,
    recordId: operation.recordId,
    dataJson: encodeData(operation),
    previousDataJson: previousData === null ? '' : JSON.stringify(previousData),
    timestamp: operation.timestamp,
    sequenceNumber: operation.sequenceNumber,
    causalDeps: operation.causalDeps,
    schemaVersion: operation.schemaVersion,
    hasData: data !== null,
    hasPreviousData: previousData !== null,
  }
}

/**
 * Replaces a text that is not JSON, so that its operation is refused and this text quoted: no property of an
 * operation accepts an array with it.
 */
const NO_JSON: unknown = ['text that is not JSON']

/**
 * The operation as JSON would have carried it, unchecked. Missing properties get the defaults of the clients'
 * decoder.
 *
 * @param maxBytes of the JSON that its values are stored as; see `boundJson`
 */
export function protoToOperation(proto: ProtoOperation, maxBytes: number): object {
  const { type = 'insert', timestamp = {}, hasData = false } = proto
  const { fields, ...labels } = decodeData(proto.dataJson ?? '', hasData, maxBytes)
  return {
    id: proto.id ?? '',
    nodeId: proto.nodeId ?? '',
    type,
    collection: proto.collection ?? '',
    recordId: proto.recordId ?? '',
    data: hasData || fields === NO_JSON ? fields : null,
    previousData: proto.hasPreviousData === true ? parseText(proto.previousDataJson ?? '', maxBytes) : null,
    timestamp: {
      wallTime: timestamp.wallTime ?? 0,
      logical: timestamp.logical ?? 0,
      nodeId: timestamp.nodeId ?? '',
    },
    sequenceNumber: proto.sequenceNumber ?? 0,
    causalDeps: proto.causalDeps ?? [],
    schemaVersion: proto.schemaVersion ?? 0,
    ...labels,
  }
}

/** '' when there is nothing to carry. Atomic operations without data are lost, but they have no effect. */
function encodeData({ data, atomicOps, transactionId, mutationName }: Operation): string {
  if (data === null && transactionId === undefined && mutationName === undefined) return ''
  const hasAtomicOps = data !== null && atomicOps !== undefined && Object.keys(atomicOps).length > 0
  return JSON.stringify({
    ...data,
    ...(hasAtomicOps && { [ATOMIC_OPS_KEY]: atomicOps }),
    ...(transactionId !== undefined && { [TRANSACTION_ID_KEY]: transactionId }),
    ...(mutationName !== undefined && { [MUTATION_NAME_KEY]: mutationName }),
  })
}

interface DecodedData {
  /** The values without the reserved keys; anything else where the text is not an object. */
  readonly fields: unknown
  readonly atomicOps?: unknown
  readonly transactionId?: unknown
  readonly mutationName?: unknown
}

/**
 * Decodes the data, and keeps an empty object. The clients' decoder turns it into null, which makes an insert or
 * update invalid; the flag on the wire tells the two apart.
 */
function decodeData(dataJson: string, hasData: boolean, maxBytes: number): DecodedData {
  if (dataJson === '' && !hasData) return { fields: null }
  const parsed = parseText(dataJson, maxBytes)
  if (!isJsonObject(parsed)) return { fields: parsed }
  const {
    [ATOMIC_OPS_KEY]: atomicOps,
    [TRANSACTION_ID_KEY]: transactionId,
    [MUTATION_NAME_KEY]: mutationName,
    ...fields
  } = parsed
  return {
    fields,
    ...(atomicOps !== undefined && { atomicOps }),
    ...(transactionId !== undefined && { transactionId }),
    ...(mutationName !== undefined && { mutationName }),
  }
}

/**
 * Parses a value. Bad text must not end the connection, because the author could then never send the operations
 * after it.
 */
function parseText(text: string, maxBytes: number): unknown {
  const bounds = { what: 'The text', maxContainers: text.length, around: '', maxValueBytes: maxBytes }
  try {
    return JSON.parse(boundJson(text, bounds))
  } catch {
    return NO_JSON // values that are too large to parse are replaced rather than refused
  }
}
