/*
 * The nodes that a server wrote as before a restore: the ones of the log that was replaced, and of the one that the
 * backup was made of. Stores keep them as JSON.
 */

/**
 * Size of the JSON: room for some 50 ids that stores make. The first line of a backup holds it too, and has
 * 4096 bytes at most.
 */
const MAX_BYTES = 2048

/**
 * The former nodes with some more, those that were added last at the end. Where they are too many the first ones are
 * forgotten, of which devices then send again what they hold.
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
  former.delete(presentNodeId) // an id that the application has chosen stays
  former.delete('') // of a store without tables
  for (const oldest of former) {
    if (Buffer.byteLength(serializeFormerNodes(former)) <= MAX_BYTES) break
    former.delete(oldest)
  }
  return former
}

/** The JSON that the nodes are stored as. `parseFormerNodes` reads it. */
export function serializeFormerNodes(nodeIds: ReadonlySet<string>): string {
  return JSON.stringify([...nodeIds])
}

/** What cannot be read is not known. */
export function parseFormerNodes(stored: string | null): ReadonlySet<string> {
  try {
    const nodeIds: unknown = JSON.parse(stored ?? '[]')
    return new Set(Array.isArray(nodeIds) ? nodeIds.filter((nodeId) => typeof nodeId === 'string') : [])
  } catch {
    return new Set()
  }
}
