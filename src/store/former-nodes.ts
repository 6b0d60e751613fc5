/*
 * Nodes that a server wrote as before a restore: that of the log that was replaced, and that of the log in the
 * backup. Stores keep them as JSON.
 */

/**
 * Size of the JSON: room for some 50 ids that stores generate. The first line of a backup, of at most 4096 bytes,
 * contains it too.
 */
const MAX_BYTES = 2048

/**
 * Adds former nodes, at the end. Where they become too many, the first ones are forgotten; devices then send again
 * what they have of those.
 */
export function addFormerNodes(
  known: ReadonlySet<string>,
  nodeIds: readonly string[],
  presentNodeId: string,
): ReadonlySet<string> {
  const former = new Set(known)
  for (const nodeId of nodeIds) {
    former.delete(nodeId)
    former.add(nodeId)
  }
  former.delete(presentNodeId) // stays if the application has chosen it
  former.delete('') // the node id of a store without tables
  for (const oldest of former) {
    if (Buffer.byteLength(serializeFormerNodes(former)) <= MAX_BYTES) break
    former.delete(oldest)
  }
  return former
}

/** The JSON form in which the nodes are stored, read by `parseFormerNodes`. */
export function serializeFormerNodes(nodeIds: ReadonlySet<string>): string {
  return JSON.stringify([...nodeIds])
}

/** Text that cannot be read counts as no nodes. */
export function parseFormerNodes(stored: string | null): ReadonlySet<string> {
  try {
    const nodeIds: unknown = JSON.parse(stored ?? '[]')
    return new Set(Array.isArray(nodeIds) ? nodeIds.filter((nodeId) => typeof nodeId === 'string') : [])
  } catch {
    return new Set()
  }
}
