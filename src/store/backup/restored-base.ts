/**
 * A log that replaces another one is numbered above it. Clients hold positions in the old log, even ones that it
 * reached after the backup was made. Each of these must lie below the new log, so that the client reads all of it.
 * The gap is far larger than what is stored in between:
 */
const RESTORE_GAP = 1_000_000_000

/** True where the entry after a position belongs to a log that has replaced the position's. */
export function isReplacedLog(position: number, nextSequence: number): boolean {
  return position > 0 && nextSequence - position >= RESTORE_GAP
}

/**
 * The delivery sequence before the first entry of a restored log.
 *
 * It is at least the time in ms, so that a second restore of the same backup lies above the log that the first one
 * began: no log gains a thousand operations a second for all its life.
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
 * The delivery sequence after which a log continues that has lost its newest entries. Other servers may have known
 * more of these, and for them, too, the continuation has to lie above a gap.
 */
export function baseAfterLoss(knownSequence: number, nowMs: number): number {
  return restoredBase(knownSequence, { ownMaxSequence: knownSequence + RESTORE_GAP, nowMs })
}
