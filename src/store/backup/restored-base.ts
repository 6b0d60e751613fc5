/**
 * A log that replaces another one is numbered above it. Clients hold positions in the old log, also
 * ones it reached after the backup was made; each of them must lie below the new log, so that its
 * holder reads all of it. Far more than is stored in between:
 */
const RESTORE_GAP = 1_000_000_000

/** Whether the entry after a position is one of a log that has taken the place of the position's. */
export function isReplacedLog(position: number, nextSequence: number): boolean {
  return position > 0 && nextSequence - position >= RESTORE_GAP
}

/**
 * The delivery sequence before the first entry of a restored log.
 *
 * It is at least the time in ms, so that a second restore of the same backup lies above the log
 * which the first one began: no log gains a thousand operations a second for as long as it lives.
 *
 * @param nowMs ms since the epoch
 */
export function restoredBase(
  backupMaxSequence: number,
  { ownMaxSequence, nowMs }: { ownMaxSequence: number; nowMs: number },
): number {
  return Math.max(Math.max(backupMaxSequence, ownMaxSequence) + RESTORE_GAP, Math.floor(nowMs))
}

/**
 * The delivery sequence that a log goes on after which has lost its newest entries. Of these, other servers may
 * have known some more: to them too, what follows has to be above a gap.
 */
export function baseAfterLoss(knownSequence: number, nowMs: number): number {
  return restoredBase(knownSequence, { ownMaxSequence: knownSequence + RESTORE_GAP, nowMs })
}
