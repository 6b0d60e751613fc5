import { canonicalJson } from '../../core/canonical-json.ts'
import type { Operation } from '../../core/operation.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'

/**
 * True when two operations of one id have the same content: what the id is made from. The rest may
 * differ between two sendings of one operation: `causalDeps` are remapped when a client corrects
 * its clock.
 *
 * End-to-end encrypted payloads are encrypted anew each time they are sent, so two of them count
 * as the same; everything that is in the clear must still agree, the author's node included.
 */
export function hasSameContent(a: Operation, b: Operation): boolean {
  return contentTextOf(a) === contentTextOf(b)
}

/** The same for operations of one id with the same content. */
export function contentTextOf(operation: Operation): string {
  return canonicalJson(contentOf(operation))
}

function contentOf(operation: Operation): Record<string, unknown> {
  const { type, collection, recordId, data, timestamp, nodeId, atomicOps } = operation
  return {
    type,
    collection,
    recordId,
    data: isEncryptedPayload(data) ? 'encrypted' : data,
    timestamp,
    nodeId,
    atomicOps: atomicOps !== undefined && Object.keys(atomicOps).length > 0 ? atomicOps : null,
  }
}
