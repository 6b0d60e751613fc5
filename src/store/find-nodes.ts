import type { NodeRegistration } from './node-index.ts'

/** Those of the nodes that are known, by their ids. */
export function findNodes(
  registry: { find(nodeId: string): NodeRegistration | undefined },
  nodeIds: readonly string[],
): Map<string, NodeRegistration> {
  const found = new Map<string, NodeRegistration>()
  for (const nodeId of nodeIds) {
    const node = registry.find(nodeId)
    if (node !== undefined) found.set(nodeId, node)
  }
  return found
}
