import { isSnapshot, type Operation } from '../../core/operation.ts'
import { type Refusal, refuse } from '../../core/refusal.ts'
import { refuseForeignClock } from '../../protocol/parse-operation.ts'

/**
 * Refuses an operation of a schema that is newer than all that the server lets in: no client of that
 * version can have made it here, and nothing of what it means is known.
 *
 * @param newest the upper bound of `supportedSchemaVersions`
 * @see docs/protocol.md, "Fields of other schema versions"
 */
export function refuseUnsupportedVersion({ schemaVersion }: Operation, newest: number): Refusal | null {
  if (schemaVersion <= newest) return null
  return refuse(
    'SCHEMA_VIOLATION',
    `It was made under schema version ${schemaVersion}; the server supports versions up to ${newest}.`,
  )
}

/**
 * Refuses an operation that carries the clock of another node and cannot be a server's snapshot: it lacks the id or
 * the form of one, or names the sending client's node.
 *
 * @param ownNodeId of the client
 */
export function refuseForgedSnapshot(
  operation: Operation,
  { isIdVerified, ownNodeId }: { isIdVerified: boolean; ownNodeId: string },
): Refusal | null {
  if (!isSnapshot(operation)) return null
  const { nodeId, causalDeps, atomicOps, timestamp } = operation
  const mayBeGenuine =
    isIdVerified && nodeId !== ownNodeId && causalDeps.length === 0 && atomicOps === undefined
  return mayBeGenuine ? null : refuseForeignClock(timestamp.nodeId)
}
