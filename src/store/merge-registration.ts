import type { NodeCondition, NodeRegistration, NodeUpdate } from './node-index.ts'

/**
 * What holds of a node once it is updated: the user that it is bound to stays, and so does what the update leaves out.
 *
 * @param onlyWhile nothing is changed of a node of which this does not hold
 * @returns `before` itself, where nothing is changed
 * @see NodeIndex.registerNode
 */
export function mergeRegistration(
  before: NodeRegistration | undefined,
  update: NodeUpdate,
  onlyWhile?: NodeCondition,
): NodeRegistration {
  const hasMovedOn = before !== undefined && onlyWhile !== undefined && before.scopeEra !== onlyWhile.scopeEra
  if (hasMovedOn) return before
  return {
    nodeId: update.nodeId,
    userId: before?.userId ?? update.userId ?? null,
    scopeEra: update.scopeEra === undefined ? (before?.scopeEra ?? null) : update.scopeEra,
    legacyPosition: update.legacyPosition ?? before?.legacyPosition ?? 0,
  }
}
