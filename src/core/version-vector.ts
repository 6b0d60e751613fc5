import { hash } from 'node:crypto'

/**
 * Node id → highest sequence number. Missing means 0.
 * @see docs/protocol.md, "Version vectors"
 */
export type VersionVector = ReadonlyMap<string, number>

/** No node id that a client sends, its own or that of an operation, holds a control character: this stands in none. */
const GUEST_SEPARATOR = '\u001f'

/**
 * The entry for what somebody has sent under the id of a node that belongs to another: a second row
 * of the vector, so that people who share a device each resume where they left off, and none can make
 * the others' operations count as sent. It sorts behind the node's own entry and before every other.
 *
 * @param userId '' for all whom nobody can tell apart
 */
export function guestEntry(nodeId: string, userId: string): string {
  const user = userId === '' ? '' : hash('sha256', userId, 'base64url')
  return `${nodeId}${GUEST_SEPARATOR}${user}`
}

/** True for what is no entry of a node of its own. */
export function isGuestEntry(entry: string): boolean {
  return entry.includes(GUEST_SEPARATOR)
}

/** The node of an entry. */
export function nodeOfEntry(entry: string): string {
  const end = entry.indexOf(GUEST_SEPARATOR)
  return end === -1 ? entry : entry.slice(0, end)
}

/** The first text behind the node's own entry and those of its guests. */
export function endOfEntries(nodeId: string): string {
  return `${nodeId}${String.fromCharCode(GUEST_SEPARATOR.charCodeAt(0) + 1)}`
}
