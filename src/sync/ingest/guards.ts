import { isSnapshot, type Operation } from '../../core/operation.ts'
import { type Refusal, refuse } from '../../core/refusal.ts'
import { refuseForeignClock } from '../../protocol/parse-operation.ts'

/**
 * How far the clock of a device may run ahead of ours. Kora clients stamp their queue again when
 * they find themselves further ahead, and stop applying what is 5 minutes ahead.
 */
export const FUTURE_TOLERANCE_MS = 60_000

/**
 * Refuses an operation written by a clock that runs ahead of ours: a future timestamp would win
 * every merge of its record until real time caught up.
 *
 * @param nowMs server time, ms since the epoch
 * @see docs/protocol.md, "Clocks"; Kulkarni et al., Logical Physical Clocks (2014)
 */
export function refuseFutureClock(operation: Operation, nowMs: number): Refusal | null {
  const aheadMs = operation.timestamp.wallTime - nowMs
  if (aheadMs <= FUTURE_TOLERANCE_MS) return null
  return refuse(
    'INVALID_TIMESTAMP',
    `Its clock is ${Math.round(aheadMs / 1000)} s ahead of the server's (${FUTURE_TOLERANCE_MS / 1000} s allowed). ` +
      `Check the time of node ${operation.nodeId}.`,
  )
}

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
