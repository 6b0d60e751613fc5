import { applyAtomic, isAtomicType } from '../atomic.ts'
import type { AtomicOp, AtomicType, FieldValues, JsonValue, Operation } from '../operation.ts'
import { ownValue, setOwnValue } from '../own-property.ts'
import { resolverOf } from '../schema/resolvers.ts'
import type { CollectionDefinition } from '../schema/types.ts'
import { isEncryptedPayload } from './binary-values.ts'
import { hasNumericStrategy, isConflict, isMergedField, mergeField, shownValue } from './field-merge.ts'
import type { AtomicRun, FieldVersion, RecordState } from './state.ts'

/** A record state while operations are folded into it. It owns its maps, but shares their values. */
export interface RecordDraft {
  values: { [field: string]: JsonValue }
  fieldVersions: { [field: string]: FieldVersion }
  isDeleted: boolean
  isEncrypted: boolean
  isSealed: boolean
  hasSkipped: boolean
  createdAt: number
  updatedAt: number
  lastInsertAt: RecordState['lastInsertAt']
  lastDeleteAt: RecordState['lastDeleteAt']
  newest: RecordState['newest']
}

/** The state of a record before its first operation. */
export function createDraft(firstOperation: Operation): RecordDraft {
  return {
    values: {},
    fieldVersions: {},
    isDeleted: true,
    isEncrypted: false,
    isSealed: false,
    hasSkipped: false,
    createdAt: firstOperation.timestamp.wallTime,
    updatedAt: firstOperation.timestamp.wallTime,
    lastInsertAt: null,
    lastDeleteAt: null,
    newest: { timestamp: firstOperation.timestamp, operationId: firstOperation.id },
  }
}

/** A copy of a state, to fold onto; the state itself does not change. */
export function draftOf(state: RecordState): RecordDraft {
  return { ...state, values: { ...state.values }, fieldVersions: { ...state.fieldVersions } }
}

/**
 * Folds one operation that is newer than everything in the draft.
 *
 * @see docs/protocol.md, "Folding"
 */
export function foldInto(
  draft: RecordDraft,
  operation: Operation,
  collection: CollectionDefinition | null,
): void {
  draft.updatedAt = operation.timestamp.wallTime
  draft.newest = { timestamp: operation.timestamp, operationId: operation.id }
  if (operation.type === 'delete') {
    draft.isDeleted = true // values and versions stay, because a later update brings them back
    draft.lastDeleteAt = operation.timestamp
    return
  }
  const data = readableData(operation)
  if (data === null) {
    draft.hasSkipped = true
    return
  }
  noteEncryption(draft, operation)
  if (operation.type === 'insert') {
    foldInsert(draft, operation, data)
  } else {
    foldUpdate(draft, operation, data, collection)
  }
  draft.isDeleted = false
}

/** An insert replaces the record, and with it what nobody can read; unless it is encrypted itself. */
export function noteEncryption(draft: RecordDraft, { type, data }: Operation): void {
  const isEncrypted = isEncryptedPayload(data)
  if (type === 'insert') {
    draft.isEncrypted = isEncrypted
    draft.isSealed = isEncrypted
  } else if (isEncrypted) {
    draft.isEncrypted = true
    if (draft.lastInsertAt === null) draft.isSealed = true
  }
}

/** The fields that an operation writes in clear text; null when it has no data at all. */
export function readableData(operation: Operation): FieldValues | null {
  return isEncryptedPayload(operation.data) ? {} : operation.data
}

/** Replaces the record by the insert: fields that it omits lose their value, but keep their last writer. */
function foldInsert(draft: RecordDraft, operation: Operation, data: FieldValues): void {
  draft.values = { ...data }
  draft.lastInsertAt = operation.timestamp
  const version: FieldVersion = { timestamp: operation.timestamp, writer: 'plain' }
  for (const field of Object.keys(data)) setOwnValue(draft.fieldVersions, field, version)
}

/**
 * Writes the fields of an update. On a live record, fields that are merged by content and have changed since the
 * author saw them are merged; on a deleted record the written values stand.
 */
export function foldUpdate(
  draft: RecordDraft,
  operation: Operation,
  data: FieldValues,
  collection: CollectionDefinition | null,
): void {
  const { values, fieldVersions } = draft
  const plain: FieldVersion = { timestamp: operation.timestamp, writer: 'plain' }
  const merged =
    draft.isDeleted || collection === null ? null : mergeConflicts(values, operation, data, collection)
  for (const field of Object.keys(data)) {
    const written = data[field] as JsonValue // a key of data
    const atomicOp = atomicOpOf(operation, field)
    if (atomicOp !== null) {
      foldAtomic(draft, operation, { field, atomicOp, written })
      continue
    }
    const value = merged?.get(field)
    setOwnValue(values, field, value === undefined ? written : value)
    setOwnValue(fieldVersions, field, plain)
  }
}

/** The intent of a field's change, if it is an atomic operation that this release knows. */
export function atomicOpOf(operation: Operation, field: string): AtomicOp | null {
  if (operation.atomicOps === undefined || operation.type !== 'update') return null
  const atomicOp = ownValue(operation.atomicOps, field)
  return atomicOp !== undefined && isAtomicType(atomicOp.type) ? atomicOp : null
}

/** Folds an atomic operation. The first of a run sets the value that its author computed; those that follow compose. */
function foldAtomic(
  draft: RecordDraft,
  { timestamp }: Operation,
  { field, atomicOp, written }: { field: string; atomicOp: AtomicOp; written: JsonValue },
): void {
  const { values, fieldVersions } = draft
  const { type, value } = atomicOp
  const last = ownValue(fieldVersions, field)
  if (last?.writer === type && last.run !== undefined) {
    setOwnValue(values, field, applyAtomic(type, ownValue(values, field), value))
    setOwnValue(fieldVersions, field, { timestamp, writer: type, run: extendRun(last.run, value) })
  } else {
    setOwnValue(values, field, written)
    setOwnValue(fieldVersions, field, { timestamp, writer: type, run: startRun(timestamp, type, written) })
  }
}

/** The run that starts with an atomic operation which does not continue another. */
export function startRun(since: AtomicRun['since'], type: AtomicType, written: JsonValue): AtomicRun {
  return { since, magnitude: type === 'increment' ? addMagnitude(0, written) : null }
}

/** The run with one more operand. */
export function extendRun(run: AtomicRun, operand: JsonValue): AtomicRun {
  return { since: run.since, magnitude: addMagnitude(run.magnitude, operand) }
}

function addMagnitude(magnitude: number | null, summand: JsonValue): number | null {
  if (magnitude === null) return null
  if (typeof summand !== 'number') return magnitude // counts as 0
  const sum = magnitude + Math.abs(summand)
  return Number.isInteger(summand) && Number.isSafeInteger(sum) ? sum : null
}

/**
 * The merged values of an update's fields that are in conflict; null when none is. Numeric strategies of scalars
 * apply only when a field that is merged by content is in conflict, atomic or not: clients start a merge only for
 * such a field, and then apply it to the whole update, even to scalars without conflict. Without one, scalars are
 * last-write-wins.
 */
function mergeConflicts(
  values: FieldValues,
  operation: Operation,
  data: FieldValues,
  collection: CollectionDefinition,
): Map<string, JsonValue> | null {
  let merged: Map<string, JsonValue> | null = null
  for (const field of Object.keys(data)) {
    if (!isMergedField(collection, field)) continue
    const write = { field, values, operation, data, collection }
    if (!isInConflict(write)) continue
    merged ??= new Map()
    mergeWrite(merged, write)
  }
  if (merged === null) return null
  for (const field of Object.keys(data)) {
    if (isMergedField(collection, field) || !hasNumericStrategy(collection, field)) continue
    mergeWrite(merged, { field, values, operation, data, collection })
  }
  return merged
}

interface FieldWrite {
  readonly field: string
  readonly values: FieldValues
  readonly operation: Operation
  readonly data: FieldValues
  readonly collection: CollectionDefinition
}

function isInConflict({ field, values, operation, collection }: FieldWrite): boolean {
  const descriptor = ownValue(collection.fields, field)
  return isConflict(descriptor, ownValue(values, field), previousValue(operation, field))
}

/** Adds the value that the write of a field results in; atomic writes are folded separately. */
function mergeWrite(merged: Map<string, JsonValue>, write: FieldWrite): void {
  const { field, operation, collection } = write
  if (atomicOpOf(operation, field) !== null) return
  const descriptor = ownValue(collection.fields, field)
  const current = ownValue(write.values, field)
  const base = previousValue(operation, field)
  const value = mergeField({
    kind: descriptor?.kind ?? 'json',
    mergeStrategy: descriptor?.mergeStrategy ?? null,
    resolver: resolverOf(collection, operation.collection, field),
    base,
    local: { value: shownValue(descriptor, current) },
    remote: { value: write.data[field] },
    isRemoteLater: true, // operations are folded in order
  })
  if (value !== undefined) merged.set(field, value)
}

function previousValue({ previousData }: Operation, field: string): JsonValue | undefined {
  return previousData === null || isEncryptedPayload(previousData) ? undefined : ownValue(previousData, field)
}
