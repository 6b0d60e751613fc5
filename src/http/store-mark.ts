import { createHash } from 'node:crypto'
import type { ServerStore } from '../store/store.ts'

const HEX_DIGITS = 16

/**
 * A public fingerprint of the store: equal for two servers that have the same store open. It is a hash because the
 * node that the server writes under must be known to devices only. A copy of a database keeps the mark; a restore
 * in its place changes it, and so does a library server that chooses its own node.
 */
export function storeMarkOf(store: Pick<ServerStore, 'getNodeId'>): string {
  return createHash('sha256').update(`store of ${store.getNodeId()}`).digest('hex').slice(0, HEX_DIGITS)
}
