import type { NodeCondition, NodeRegistration, NodeUpdate } from './node-index.ts'

/**
 * The registration of a node after an update. The user that it is bound to stays, as does everything that the
 * update leaves out.
 *
 * @param onlyWhile condition on the node without which nothing is changed
 * @returns `before` itself, if nothing is changed
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
