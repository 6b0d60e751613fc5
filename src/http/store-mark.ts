import { createHash } from 'node:crypto'
import type { ServerStore } from '../store/store.ts'

const HEX_DIGITS = 16

/**
 * What two who have the same store open both come to, to be told to anybody: the node that servers write under is
 * known to devices only. A copy of a database has the mark of the original; a restore in the place of it another one, as
 * has each server of a library that chooses its node.
 */
export function storeMarkOf(store: Pick<ServerStore, 'getNodeId'>): string {
  return createHash('sha256').update(`store of ${store.getNodeId()}`).digest('hex').slice(0, HEX_DIGITS)
}
