import { createHash } from 'node:crypto'
import type { Operation } from '../../core/operation.ts'
import { checkOperationId } from '../../core/operation-id.ts'
import type { SoughtOperation } from './load.ts'
import { contentTextOf } from './same-content.ts'

/*
 * What compaction drops is noted under an id, so that it is recognised when it comes again. An id
 * that follows from its operation's content stands for it alone. One that does not may be that of
 * another operation, yet to come, which would then be taken for the one that was dropped and be
 * acknowledged without being stored. So such an operation is noted under an id made of its content.
 *
 * Earlier releases noted every operation under its own id, and their notes stay, also in backups. So an id that is noted
 * may prove nothing: an operation whose content contradicts it is refused. One whose id cannot be checked, as it is
 * encrypted, is taken for the one that was dropped.
 */

/** The id that a dropped operation is noted under. */
export function droppedIdOf(operation: Operation): string {
  return checkOperationId(operation) === 'verified' ? operation.id : unprovenIdOf(operation)
}

/** Every id that the operation may have been noted under, if it was stored and dropped. */
export function possibleDroppedIdsOf({ operation, isIdVerified }: SoughtOperation): readonly string[] {
  return isIdVerified === true ? [operation.id] : [operation.id, unprovenIdOf(operation)]
}

/**
 * A hash of the operation's id and content. Of an encrypted one, only what is in the clear counts: its
 * payload is encrypted anew each time it is sent.
 */
export function unprovenIdOf(operation: Operation): string {
  return createHash('sha256')
    .update(`dropped ${operation.id} ${contentTextOf(operation)}`)
    .digest('hex')
}
