import type { FieldValues, JsonValue, Operation, Timestamp } from '../../core/operation.ts'
import { computeOperationId } from '../../core/operation-id.ts'

/** What the operations that the server authors for one record have in common. */
export interface ServerAuthor {
  readonly collection: string
  readonly recordId: string
  readonly serverNodeId: string
  readonly schemaVersion: number
}

/** Authors an operation of the server, without a sequence number (0) and causes. */
export function authorOperation(
  { collection, recordId, serverNodeId, schemaVersion }: ServerAuthor,
  type: Operation['type'],
  timestamp: Timestamp,
  content: Pick<Operation, 'data' | 'previousData'>,
): Operation {
  const operation: Operation = {
    id: '',
    nodeId: serverNodeId,
    type,
    collection,
    recordId,
    ...content,
    timestamp,
    sequenceNumber: 0,
    causalDeps: [],
    schemaVersion,
  }
  return { ...operation, id: computeOperationId(operation) }
}

/** The values of these fields, of those that the record has. */
export function pickValues(values: FieldValues, fields: readonly string[]): Record<string, JsonValue> {
  const picked: Record<string, JsonValue> = Object.create(null)
  for (const field of fields) {
    if (Object.hasOwn(values, field)) picked[field] = values[field] ?? null
  }
  return picked
}
