import { StoreError } from '../../core/errors.ts'
import type { Operation } from '../../core/operation.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'

/**
 * The error for stored data that cannot be what was written.
 *
 * @param what a sentence that names it
 */
export function corrupt(what: string, cause?: unknown): StoreError {
  return new StoreError('STORE_CORRUPT', `${what} See "kora-server check --deep"; restore a backup.`, {
    cause,
  })
}

/**
 * The error for damaged data that is read while a store is opened: `check --deep` could not open it either, so a
 * backup is the only advice.
 *
 * @param what a sentence that names it
 */
export function corruptOnOpening(what: string, cause?: unknown): StoreError {
  return new StoreError('STORE_CORRUPT', `${what} Restore a backup.`, { cause })
}

/** True for an error that reports damage in the store. */
export function isCorrupt(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'STORE_CORRUPT'
}

/** The error for a row of the log that differs from what was written. */
export function corruptRow(deliverySequence: number, cause?: unknown): StoreError {
  return corrupt(`Row ${deliverySequence} of _kora_operations is damaged and is not served.`, cause)
}

/** The error for a number that should stand for a name but has none. */
export function lostName(id: number, table: '_kora_nodes' | '_kora_collections'): StoreError {
  return corrupt(`No name is stored in ${table} under the number ${id}.`)
}

/**
 * Parses the operation of a row that has no checksum to prove it sound.
 *
 * @throws StoreError `STORE_CORRUPT`
 */
export function parseStoredOperation(wireJson: string, deliverySequence: number): Operation {
  let operation: Operation
  try {
    operation = operationOfWireJson(wireJson)
  } catch (cause) {
    throw corruptRow(deliverySequence, cause)
  }
  if (!canBeFolded(operation)) throw corruptRow(deliverySequence)
  return operation
}

/** False for JSON that was never an operation: a replay would fail over it, without a word of the row. */
function canBeFolded(operation: unknown): boolean {
  const { id, type, collection, recordId, data, timestamp } = objectOf(operation)
  const { wallTime, logical, nodeId } = objectOf(timestamp)
  return (
    [id, type, collection, recordId, nodeId].every((value) => typeof value === 'string') &&
    [wallTime, logical].every(Number.isSafeInteger) &&
    typeof data === 'object'
  )
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
