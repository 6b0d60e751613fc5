import { isGuestEntry, nodeOfEntry } from '../../core/version-vector.ts'
import { certain, type Damage } from './damage.ts'

/**
 * Prefix in `_kora_meta` for vector entries that a restore takes over although nothing is stored behind them. An
 * entry counts things that backups leave out: snapshots of a server, and operations dropped with a purged record.
 * The restore therefore notes up to where each entry is inherited, under this prefix and the name of the entry.
 */
export const INHERITED_CLAIM = 'inherited:'

/** Reports a vector entry that claims more than is stored, was dropped, or was inherited from a backup. */
export function damageOfClaim(entry: string, claimed: number, stored: number): Damage {
  const who = isGuestEntry(entry) ? ' of a guest' : ''
  return certain(
    `node ${nodeOfEntry(entry)}`,
    `the version vector says ${claimed}${who}, and its last operation is ${stored}`,
  )
}
