import { compareTimestamps } from '../../../src/core/clock.ts'
import type { FieldValues, JsonValue, Operation, Timestamp } from '../../../src/core/operation.ts'
import { isConflict, isMergedField, mergeField } from '../../../src/core/record/field-merge.ts'
import { replayRecord } from '../../../src/core/record/fold.ts'
import type { CollectionDefinition } from '../../../src/core/schema/types.ts'

/** One record in a client's local table. */
export interface Row {
  readonly values: FieldValues
  /** Clock of the row's last writer. */
  readonly version: Timestamp
  readonly fieldVersions: { readonly [field: string]: Timestamp }
  readonly isDeleted: boolean
}

export interface MergeContext {
  readonly definition: CollectionDefinition | null
  /** The newest operation that this device itself made on the record. */
  readonly lastLocal: Operation | null
  /** Everything logged of the record, the new operation included. */
  readonly log: readonly Operation[]
}

/** A local write takes effect as it is: the device's clock is ahead of all it has seen. */
export function writeLocal(row: Row | null, operation: Operation): Row | null {
  if (operation.type === 'delete') {
    return row && { ...row, isDeleted: true, version: operation.timestamp }
  }
  const previous = operation.type === 'insert' ? null : row
  return writeFields(previous, operation.data ?? {}, operation.timestamp)
}

/**
 * The path of a remote operation through a client, by what it is and what it meets.
 *
 * @returns the row afterwards, or null where there is none
 * @see docs/protocol.md, "How clients merge"
 */
export function mergeRemote(row: Row | null, operation: Operation, context: MergeContext): Row | null {
  switch (operation.type) {
    case 'insert':
      if (row === null) return createRow(context)
      if (row.isDeleted) return isLater(operation, row.version) ? revive(row, operation) : row
      return mergeLive(row, operation, {}, context)
    case 'update':
      if (row === null) return null
      if (row.isDeleted) return foldLog(row, context)
      if (!needsEngine(operation, context.definition)) return writeNewerFields(row, operation)
      return mergeUpdate(row, operation, context)
    case 'delete':
      return row && isLater(operation, row.version)
        ? { ...row, isDeleted: true, version: operation.timestamp }
        : row
  }
}

/** A new row, with what arrived before its insert. */
function createRow({ log }: MergeContext): Row | null {
  const state = replayRecord(log, null)
  if (state === null) return null
  const fieldVersions = Object.fromEntries(
    Object.entries(state.fieldVersions).map(([field, version]) => [field, version.timestamp]),
  )
  return { values: state.values, version: state.newest.timestamp, fieldVersions, isDeleted: state.isDeleted }
}

function foldLog(row: Row, context: MergeContext): Row {
  return createRow(context) ?? row
}

function revive(row: Row, operation: Operation): Row {
  return { ...writeFields(row, operation.data ?? {}, operation.timestamp), isDeleted: false }
}

function needsEngine(operation: Operation, definition: CollectionDefinition | null): boolean {
  if (operation.atomicOps !== undefined && Object.keys(operation.atomicOps).length > 0) return true
  if (definition === null) return false
  if (definition.constraints.length > 0) return true
  return Object.keys(operation.data ?? {}).some((field) => isMergedField(definition, field))
}

/** Last write wins, field by field. */
function writeNewerFields(row: Row, operation: Operation): Row {
  const newer = Object.entries(operation.data ?? {}).filter(([field]) => {
    const version = row.fieldVersions[field]
    return version === undefined || isLater(operation, version)
  })
  return writeFields(row, Object.fromEntries(newer), operation.timestamp)
}

function mergeUpdate(row: Row, operation: Operation, context: MergeContext): Row {
  const data = operation.data ?? {}
  const base = operation.previousData ?? {}
  const isFastForward = Object.keys(data).every(
    (field) => !isConflict(context.definition?.fields[field], row.values[field], base[field]),
  )
  const merged = isFastForward
    ? writeFields(row, data, operation.timestamp)
    : mergeLive(row, operation, base, context)
  return withFoldedAtomics(merged, operation, context)
}

/** The pairwise engine: the row, stamped with the device's own last write, against the operation. */
function mergeLive(row: Row, operation: Operation, base: FieldValues, context: MergeContext): Row {
  const localVersion = context.lastLocal?.timestamp ?? row.version
  const isRemoteLater = isLater(operation, localVersion)
  const values = Object.entries(operation.data ?? {}).map(([field, remote]): [string, JsonValue] => {
    const descriptor = context.definition?.fields[field]
    const local = row.values[field]
    const merged = mergeField({
      kind: descriptor?.kind ?? 'string',
      mergeStrategy: descriptor?.mergeStrategy ?? null,
      resolver: context.definition?.resolvers[field],
      base: base[field],
      local: isConflict(descriptor, local, base[field]) ? { value: local } : null,
      remote: isConflict(descriptor, remote, base[field]) ? { value: remote } : null,
      isRemoteLater,
    })
    return [field, merged ?? null]
  })
  return writeFields(row, Object.fromEntries(values), operation.timestamp)
}

function withFoldedAtomics(row: Row, operation: Operation, { log }: MergeContext): Row {
  const folded = replayRecord(log, null)?.values ?? {}
  const atomics = Object.keys(operation.atomicOps ?? {}).filter((field) => folded[field] !== undefined)
  const values = Object.fromEntries(atomics.map((field) => [field, folded[field] as JsonValue]))
  return writeFields(row, values, operation.timestamp)
}

function writeFields(row: Row | null, values: FieldValues, timestamp: Timestamp): Row {
  const versions = Object.keys(values).map((field) => [field, later(row?.fieldVersions[field], timestamp)])
  return {
    values: { ...row?.values, ...values },
    version: later(row?.version, timestamp),
    fieldVersions: { ...row?.fieldVersions, ...Object.fromEntries(versions) },
    isDeleted: false,
  }
}

function isLater(operation: Operation, version: Timestamp): boolean {
  return compareTimestamps(operation.timestamp, version) > 0
}

function later(a: Timestamp | undefined, b: Timestamp): Timestamp {
  return a !== undefined && compareTimestamps(a, b) > 0 ? a : b
}
