import { hash } from 'node:crypto'

/**
 * Node id → highest sequence number. Missing means 0.
 * @see docs/protocol.md, "Version vectors"
 */
export type VersionVector = ReadonlyMap<string, number>

/**
 * No node id that a client sends, for itself or for an operation, may hold a control character, so this one never
 * occurs in any.
 */
const GUEST_SEPARATOR = '\u001f'

/**
 * The version-vector entry for operations that a user other than the owner has sent under a node's id. So people
 * who share a device each resume where they left off, and none can make the others' operations count as sent. It
 * sorts after the node's own entry and before those of all other nodes.
 *
 * @param userId '' for all users that cannot be told apart
 */
export function guestEntry(nodeId: string, userId: string): string {
  const user = userId === '' ? '' : hash('sha256', userId, 'base64url')
  return `${nodeId}${GUEST_SEPARATOR}${user}`
}

/** True for an entry of a guest, rather than a node's own. */
export function isGuestEntry(entry: string): boolean {
  return entry.includes(GUEST_SEPARATOR)
}

/** The node that an entry belongs to. */
export function nodeOfEntry(entry: string): string {
  const end = entry.indexOf(GUEST_SEPARATOR)
  return end === -1 ? entry : entry.slice(0, end)
}

/** The first text that sorts after the node's own entry and those of its guests. */
export function endOfEntries(nodeId: string): string {
  return `${nodeId}${String.fromCharCode(GUEST_SEPARATOR.charCodeAt(0) + 1)}`
}
