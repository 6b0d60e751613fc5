import { SERVER_ITSELF } from '../../core/write-access.ts'
import type { RestoreCounts, RestoredOperation } from '../restore.ts'
import type { AppendRequest, AppendResult } from '../store.ts'

/** Turns operations of a backup into append requests. */
export function restoreRequests(operations: readonly RestoredOperation[]): AppendRequest[] {
  return operations.map(({ operation, wireJson }) => ({
    operation,
    wireJson,
    access: SERVER_ITSELF, // the version vector is restored separately, as it was
    isHistory: true,
  }))
}

/** Counts the outcomes of the operations of a backup. */
export function countRestored(results: readonly AppendResult[]): RestoreCounts {
  const counts = { applied: 0, duplicate: 0, refused: 0 }
  for (const { status } of results) counts[status === 'ignored' ? 'refused' : status]++ // nothing judges them
  return counts
}
