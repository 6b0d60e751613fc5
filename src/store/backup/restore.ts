import type { AppendRequest } from '../store.ts'
import type { Backup } from './backup-format.ts'

/**
 * A log that replaces another one, or goes on elsewhere, is numbered far above it. Clients hold
 * positions in the old log, also ones it reached after the backup was made; every one of them must
 * lie below the new log, so that its holder reads all of it. Far more than is stored in between.
 */
const RESTORE_GAP = 1_000_000_000

/** The delivery sequence before the first entry of a restored log. */
export function restoredBase(backup: Backup, ownMaxDeliverySequence: number): number {
  return Math.max(backup.maxDeliverySequence, ownMaxDeliverySequence) + RESTORE_GAP
}

/** The backup's operations as append requests, some hundred at a time. */
export function* restoreBatches(backup: Backup): Generator<readonly AppendRequest[]> {
  for (let start = 0; start < backup.operations.length; start += BATCH_OPERATIONS) {
    yield backup.operations.slice(start, start + BATCH_OPERATIONS).map(({ operation, wireJson }) => ({
      operation,
      wireJson,
      writeScope: null,
      advancesVector: false, // the vector is restored as it was
    }))
  }
}

const BATCH_OPERATIONS = 500
