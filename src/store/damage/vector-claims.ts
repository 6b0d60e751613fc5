import { isGuestEntry, nodeOfEntry } from '../../core/version-vector.ts'
import { certain, type Damage } from './damage.ts'

/**
 * An entry of the version vector counts what backups leave out: the snapshots of a server, and operations that were
 * dropped with a record which is forgotten. So a restore notes up to where it takes an entry over with nothing behind
 * it: in `_kora_meta`, under this and the name of the entry.
 */
export const INHERITED_CLAIM = 'inherited:'

/**
 * Damage of a version vector entry that claims more than is stored, was dropped, or came so out of a backup.
 */
export function damageOfClaim(entry: string, claimed: number, stored: number): Damage {
  const who = isGuestEntry(entry) ? ' of a guest' : ''
  return certain(
    `node ${nodeOfEntry(entry)}`,
    `the version vector says ${claimed}${who}, and its last operation is ${stored}`,
  )
}
