import { ATOMIC_TYPES, NUMERIC_ATOMIC_TYPES } from '../core/atomic.ts'
import { MAX_LOGICAL, WALL_TIME_LIMIT } from '../core/clock.ts'
import { jsonOfFields, jsonOfName, jsonOfText } from '../core/json-text.ts'
import { memoizeLast } from '../core/memoize-last.ts'
import type { AtomicOp, Operation, OperationType } from '../core/operation.ts'
import { type Refusal, refuse } from '../core/refusal.ts'
import type { PlainObject } from '../core/schema/plain-object.ts'
import { isStorableText } from '../core/storable-value.ts'
import {
  describeValue,
  findJsonProblem,
  findTextProblem,
  holdsControlCharacter,
  isJsonObject,
  type JsonWalk,
  quoteName,
} from './json-value.ts'
import type { ReceivedOperation } from './messages.ts'
import { operationOfWireJson } from './wire-identity.ts'

/**
 * Longest names in an operation, in UTF-16 code units. A node id is a UUID or a device id, and a record id a UUID
 * or a key of the app, so 255 is generous and still fits an index of every database. A collection becomes the name
 * of a table: PostgreSQL cuts at 63 bytes.
 */
export const OPERATION_BOUNDS = {
  nodeId: 255,
  collection: 63,
  recordId: 255,
  field: 255,
  transactionId: 255,
  mutationName: 255,
  /** Clients name at most three direct parents. */
  causalDeps: 100,
} as const

const MAX_WALL_TIME = WALL_TIME_LIMIT - 1
const MAX_SCHEMA_VERSION = 2 ** 31 - 1 // int32 in the binary form
const OPERATION_ID = /^[0-9a-f]{64}$/
const TYPES: ReadonlySet<unknown> = new Set<OperationType>(['insert', 'update', 'delete'])
const ATOMICS: ReadonlySet<unknown> = new Set(ATOMIC_TYPES)
const NUMERIC_ATOMICS: ReadonlySet<unknown> = NUMERIC_ATOMIC_TYPES
// Operations of one batch are mostly of one node.
const jsonOfNodeId = memoizeLast(jsonOfText)
const sharedNodeId = memoizeLast((nodeId: string) => nodeId)
const holdsControl = memoizeLast(holdsControlCharacter)
const REFUSED_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * Parses operations of clients, in either wire format: the one border that they cross. Returns a typed operation
 * with its stored form, or the refusal with the readable parts of its identity.
 *
 * The checks are written by hand: this runs for every operation, and a schema library took several times as long as
 * everything else that happens to an operation before the store.
 *
 * `wireJson` is written here from the checked value and never copied from the client's bytes, so it has no
 * duplicate keys, huge numbers or the like, which another parser may read differently, and `JSON.parse(wireJson)`
 * equals `operation`. Values stay as they are, including old forms of binary values; so does the order of the keys
 * in `data`, because ids do not depend on it.
 *
 * @param value from JSON.parse or the binary decoder; becomes part of the operation
 * @param maxBytes largest accepted `wireJson`, in bytes of UTF-8
 * @param isFromClient true allows snapshots, which devices bring back while logs and backups contain none, and
 *   forbids control characters in node ids, which old logs may contain
 * @see docs/protocol.md, "Operations"
 */
export function parseOperation(value: unknown, maxBytes: number, isFromClient = false): ReceivedOperation {
  if (!isJsonObject(value))
    return refused({}, invalid(`An operation must be an object, not ${describeValue(value)}.`))
  const walk: JsonWalk = { remainingBytes: maxBytes, isAltered: false }
  const malformed =
    refuseIdentity(value, isFromClient) ??
    refuseOrigin(value, isFromClient) ??
    refusePayload(value, walk, maxBytes)
  if (malformed !== null) return refused(value, malformed)

  // Every property was checked above, which the type system cannot follow across functions.
  const operation = copyOperation(value as unknown as Operation)
  const wireJson = writeWireJson(operation)
  const refusal = refuseSize(wireJson, maxBytes) ?? refuseText(operation, wireJson)
  if (refusal !== null) return refused(value, refusal)
  // Values that JSON writes differently must not make log and tables differ.
  return { ok: true, operation: walk.isAltered ? operationOfWireJson(wireJson) : operation, wireJson }
}

/**
 * The JSON of an operation as it is stored and sent: properties in the order of the clients, optional ones only
 * where present.
 */
export function operationToWireJson(operation: Operation): string {
  return writeWireJson(copyOperation(operation))
}

/** JSON.stringify of an operation whose properties are in order. @see json-text.ts */
function writeWireJson(operation: Operation): string {
  const { timestamp, causalDeps, atomicOps, transactionId, mutationName } = operation
  const nodeId = jsonOfNodeId(operation.nodeId)
  let json =
    `{"id":"${operation.id}","nodeId":${nodeId},"type":"${operation.type}"` +
    `,"collection":${jsonOfName(operation.collection)},"recordId":${jsonOfText(operation.recordId)}` +
    `,"data":${jsonOfFields(operation.data)},"previousData":${jsonOfFields(operation.previousData)}` +
    `,"timestamp":{"wallTime":${timestamp.wallTime},"logical":${timestamp.logical},"nodeId":${timestamp.nodeId === operation.nodeId ? nodeId : jsonOfText(timestamp.nodeId)}}` +
    `,"sequenceNumber":${operation.sequenceNumber},"causalDeps":${jsonOfIds(causalDeps)}` +
    `,"schemaVersion":${operation.schemaVersion}`
  if (atomicOps !== undefined) json += `,"atomicOps":${JSON.stringify(atomicOps)}`
  if (transactionId !== undefined) json += `,"transactionId":${jsonOfText(transactionId)}`
  if (mutationName !== undefined) json += `,"mutationName":${jsonOfText(mutationName)}`
  return `${json}}`
}

/** Written without escaping, because hex digits need none. */
function jsonOfIds(ids: readonly string[]): string {
  return ids.length === 0 ? '[]' : `["${ids.join('","')}"]`
}

/** Checks id, type and names. */
function refuseIdentity(source: PlainObject, isFromClient: boolean): Refusal | null {
  const { id, type, collection } = source
  if (typeof id !== 'string' || id.length !== 64 || !OPERATION_ID.test(id)) {
    return invalid(`id must be 64 lower-case hex digits, not ${describeValue(id)}.`)
  }
  if (!TYPES.has(type)) return invalid(`type must be insert, update or delete, not ${describeValue(type)}.`)
  const refusal =
    refuseNodeId(source, isFromClient) ??
    refuseLength(source, 'collection', OPERATION_BOUNDS.collection) ??
    refuseLength(source, 'recordId', OPERATION_BOUNDS.recordId)
  if (refusal !== null) return refusal
  return REFUSED_NAMES.has(collection as string) ? invalid(`collection must not be "${collection}".`) : null
}

/** Checks the node id. */
function refuseNodeId(source: PlainObject, isFromClient: boolean): Refusal | null {
  const refusal = refuseLength(source, 'nodeId', OPERATION_BOUNDS.nodeId)
  if (refusal !== null || !isFromClient) return refusal
  return refuseControlCharacter(source.nodeId as string) // its length has just been looked at
}

/** Refuses a control character in a node id. @see guestEntry, which marks its vector entries with one */
export function refuseControlCharacter(nodeId: string): Refusal | null {
  return holdsControl(nodeId) ? invalid('nodeId holds a control character.') : null
}

/** Checks when, by which node and after which operations it was made. */
function refuseOrigin(source: PlainObject, isFromClient: boolean): Refusal | null {
  const { sequenceNumber, schemaVersion, causalDeps } = source
  if (!isIntegerBetween(sequenceNumber, 0, Number.MAX_SAFE_INTEGER)) {
    return invalid(
      `sequenceNumber must be an integer from 0 to 2^53 - 1, not ${describeValue(sequenceNumber)}.`,
    )
  }
  if (!isIntegerBetween(schemaVersion, 1, MAX_SCHEMA_VERSION)) {
    return invalid(
      `schemaVersion must be an integer from 1 to 2^31 - 1, not ${describeValue(schemaVersion)}.`,
    )
  }
  if (!Array.isArray(causalDeps))
    return invalid(`causalDeps must be an array, not ${describeValue(causalDeps)}.`)
  if (causalDeps.length > OPERATION_BOUNDS.causalDeps) {
    return invalid(
      `causalDeps has ${causalDeps.length} entries; at most ${OPERATION_BOUNDS.causalDeps} are accepted.`,
    )
  }
  for (const dependency of causalDeps) {
    if (typeof dependency !== 'string' || dependency.length !== 64 || !OPERATION_ID.test(dependency)) {
      return invalid(`causalDeps must hold operation ids, not ${describeValue(dependency)}.`)
    }
  }
  return refuseTimestamp(source, isFromClient)
}

/**
 * Checks the clock reading. Its node must be the operation's own: clients make both from one value, it breaks ties
 * between equal readings, and an author who could choose it would win ties in another device's name. Whether a
 * foreign one marks a snapshot is checked where the sender is known.
 */
function refuseTimestamp({ timestamp, nodeId }: PlainObject, isFromClient: boolean): Refusal | null {
  if (!isJsonObject(timestamp))
    return invalid(`timestamp must be an object, not ${describeValue(timestamp)}.`)
  if (!isIntegerBetween(timestamp.wallTime, 0, MAX_WALL_TIME)) {
    const found = describeValue(timestamp.wallTime)
    return refuse(
      'INVALID_TIMESTAMP',
      `timestamp.wallTime must be an integer from 0 to 10^15 - 1, not ${found}.`,
    )
  }
  if (!isIntegerBetween(timestamp.logical, 0, MAX_LOGICAL)) {
    const found = describeValue(timestamp.logical)
    return refuse(
      'INVALID_TIMESTAMP',
      `timestamp.logical must be an integer from 0 to ${MAX_LOGICAL}, not ${found}.`,
    )
  }
  if (timestamp.nodeId === nodeId) return null
  if (isFromClient) return refuseNodeId(timestamp, isFromClient)
  return refuseForeignClock(timestamp.nodeId)
}

/** @param clockNodeId the node of a clock reading that is not the operation's node */
export function refuseForeignClock(clockNodeId: unknown): Refusal {
  return invalid(`timestamp.nodeId must equal nodeId, not ${describeValue(clockNodeId)}.`)
}

/** Checks the data and the optional labels. */
function refusePayload(source: PlainObject, walk: JsonWalk, maxBytes: number): Refusal | null {
  const { type, data, previousData } = source
  if (type === 'delete' ? data !== null : !isJsonObject(data)) {
    return invalid(
      `data of ${type} must be ${type === 'delete' ? 'null' : 'an object'}, not ${describeValue(data)}.`,
    )
  }
  if (previousData !== null && !isJsonObject(previousData)) {
    return invalid(`previousData must be an object or null, not ${describeValue(previousData)}.`)
  }
  const problem =
    findFieldsProblem('data', data, walk) ??
    findFieldsProblem('previousData', previousData, walk) ??
    findAtomicOpsProblem(source.atomicOps, walk)
  if (walk.remainingBytes < 0) return tooLarge(`at least ${maxBytes - walk.remainingBytes}`, maxBytes)
  if (problem !== null) return invalid(`${problem}.`)
  return (
    (source.transactionId === undefined
      ? null
      : refuseLength(source, 'transactionId', OPERATION_BOUNDS.transactionId)) ??
    (source.mutationName === undefined
      ? null
      : refuseLength(source, 'mutationName', OPERATION_BOUNDS.mutationName))
  )
}

function findFieldsProblem(property: string, fields: unknown, walk: JsonWalk): string | null {
  if (!isJsonObject(fields)) return null
  for (const field in fields) {
    if (!isWireFieldName(field))
      return `${property} has a field ${quoteName(field)}, which cannot be a field name`
  }
  const problem = findJsonProblem(fields, 1, walk)
  return problem === null ? null : property + problem
}

function findAtomicOpsProblem(atomicOps: unknown, walk: JsonWalk): string | null {
  if (atomicOps === undefined) return null
  if (!isJsonObject(atomicOps)) return `atomicOps must be an object, not ${describeValue(atomicOps)}`
  for (const field in atomicOps) {
    if (!isWireFieldName(field))
      return `atomicOps has a field ${quoteName(field)}, which cannot be a field name`
    const atomicOp = atomicOps[field]
    const name = `atomicOps.${quoteName(field)}`
    if (!isJsonObject(atomicOp)) return `${name} must be an object, not ${describeValue(atomicOp)}`
    const { type, value } = atomicOp
    if (!ATOMICS.has(type)) {
      return `${name}.type must be increment, max, min, append or remove, not ${describeValue(type)}`
    }
    if (NUMERIC_ATOMICS.has(type) && !Number.isFinite(value)) {
      return `${name}.value must be a finite number for ${type}, not ${describeValue(value)}`
    }
    walk.remainingBytes -= field.length
    const problem = findJsonProblem(value, 3, walk)
    if (problem !== null) return `${name}.value${problem}`
  }
  return null
}

function refuseSize(wireJson: string, maxBytes: number): Refusal | null {
  if (wireJson.length * 3 <= maxBytes) return null // UTF-8 takes at most 3 bytes per code unit
  const bytes = Buffer.byteLength(wireJson)
  return bytes <= maxBytes ? null : tooLarge(String(bytes), maxBytes)
}

/**
 * Checks for text that must not be stored, which is only NUL and half surrogate pairs. JSON writes both, and little
 * else, as `\u…`, so one search of the JSON clears most operations.
 */
function refuseText(operation: Operation, wireJson: string): Refusal | null {
  if (!wireJson.includes('\\u')) return null
  const problem = findTextProblem(operation)
  return problem === null ? null : invalid(`${problem.slice(1)}.`)
}

function refuseLength(source: PlainObject, property: string, maxLength: number): Refusal | null {
  const text = source[property]
  if (typeof text === 'string' && text.length > 0 && text.length <= maxLength) return null
  const found = typeof text === 'string' ? `${text.length} characters` : describeValue(text)
  return invalid(`${property} must be a string of 1 to ${maxLength} characters, not ${found}.`)
}

function invalid(message: string): Refusal {
  return refuse('INVALID_OPERATION', message)
}

function tooLarge(bytes: string, maxBytes: number): Refusal {
  return refuse('OPERATION_TOO_LARGE', `Its JSON takes ${bytes} bytes; the limit is ${maxBytes}.`)
}

function isIntegerBetween(value: unknown, min: number, max: number): boolean {
  return (
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max && !Object.is(value, -0)
  )
}

function isWireFieldName(name: string): boolean {
  return name.length > 0 && name.length <= OPERATION_BOUNDS.field && !REFUSED_NAMES.has(name)
}

/** The known properties in wire order, and nothing else. */
function copyOperation(source: Operation): Operation {
  const { timestamp } = source
  const nodeId = sharedNodeId(source.nodeId)
  const operation = {
    id: source.id,
    nodeId,
    type: source.type,
    collection: source.collection,
    recordId: source.recordId,
    data: source.data,
    previousData: source.previousData,
    timestamp: {
      wallTime: timestamp.wallTime,
      logical: timestamp.logical,
      nodeId: timestamp.nodeId === nodeId ? nodeId : timestamp.nodeId,
    },
    sequenceNumber: source.sequenceNumber,
    causalDeps: source.causalDeps,
    schemaVersion: source.schemaVersion,
  }
  if (
    source.atomicOps === undefined &&
    source.transactionId === undefined &&
    source.mutationName === undefined
  ) {
    return operation
  }
  const atomicOps = copyAtomicOps(source.atomicOps)
  return {
    ...operation,
    ...(atomicOps !== null && { atomicOps }),
    ...(source.transactionId !== undefined && { transactionId: source.transactionId }),
    ...(source.mutationName !== undefined && { mutationName: source.mutationName }),
  }
}

/** null when there are none: an empty object means the same, and is not part of the id. */
function copyAtomicOps(atomicOps: Operation['atomicOps']): Record<string, AtomicOp> | null {
  let copy: Record<string, AtomicOp> | null = null
  for (const [field, { type, value }] of Object.entries(atomicOps ?? {})) {
    copy ??= {}
    copy[field] = { type, value }
  }
  return copy
}

function refused(source: PlainObject, refusal: Refusal): ReceivedOperation {
  const { sequenceNumber } = source
  return {
    ok: false,
    operationId: readText(source.id),
    collection: readText(source.collection),
    recordId: readText(source.recordId),
    nodeId: readText(source.nodeId),
    sequenceNumber: isIntegerBetween(sequenceNumber, 0, Number.MAX_SAFE_INTEGER)
      ? (sequenceNumber as number)
      : 0,
    refusal,
  }
}

/** A part of a refused operation's identity, if it can be repeated to its author. */
function readText(value: unknown): string {
  return typeof value === 'string' && value.length <= 255 && isStorableText(value) ? value : ''
}
