import type { FieldValues } from '../../core/operation.ts'
import { isPlainObject, type PlainObject } from '../../core/schema/plain-object.ts'
import { storableFields } from '../../core/storable-value.ts'
import type { ReceivedOperation } from '../../protocol/messages.ts'
import { parseOperation } from '../../protocol/parse-operation.ts'
import type { RestoredOperation } from '../restore.ts'
import { invalidBackup, MAX_SECTION_BYTES } from './backup-format.ts'

/**
 * Parses the operation in a line, with the checks for operations of clients.
 *
 * @throws StoreError `BACKUP_INVALID`
 */
export function parseBackupOperation(line: string): RestoredOperation {
  const value = parseJson(line)
  if (value === undefined) throw invalidBackup('an entry is not JSON')
  const received = parseLogged(value)
  if (!received.ok) throw invalidBackup(`an entry is not an operation: ${reasonOf(received)}`)
  return { operation: received.operation, wireJson: received.wireJson }
}

/** Why a restore would refuse an operation of the log, as part of a sentence; null when it would not. */
export function refuseRestore(wireJson: string): string | null {
  const received = parseLogged(parseJson(wireJson))
  return received.ok ? null : reasonOf(received)
}

/**
 * Replaces text that operations may no longer hold: earlier releases copied it into the `previousData` of
 * operations that the server wrote. That is not part of the id, and is replaced as in records.
 */
function parseLogged(value: unknown): ReceivedOperation {
  const received = parseOperation(value, MAX_SECTION_BYTES)
  if (received.ok || !isPlainObject(value) || !isPlainObject(value.previousData)) return received
  return parseOperation(withStorablePast(value, value.previousData), MAX_SECTION_BYTES)
}

function withStorablePast(operation: PlainObject, previousData: PlainObject): PlainObject {
  return { ...operation, previousData: storableFields(previousData as FieldValues) } // parsed from JSON
}

function reasonOf({ refusal }: Extract<ReceivedOperation, { ok: false }>): string {
  return refusal.message.replace(/\.$/, '')
}

/** undefined for invalid JSON */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
