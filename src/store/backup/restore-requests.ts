import { SERVER_ITSELF } from '../../core/write-access.ts'
import type { RestoreCounts, RestoredOperation } from '../restore.ts'
import type { AppendRequest, AppendResult } from '../store.ts'

/** Operations of a backup as a store appends them. */
export function restoreRequests(operations: readonly RestoredOperation[]): AppendRequest[] {
  return operations.map(({ operation, wireJson }) => ({
    operation,
    wireJson,
    access: SERVER_ITSELF, // the vector is restored as it was
    isHistory: true,
  }))
}

/** Counts what became of the operations of a backup. */
export function countRestored(results: readonly AppendResult[]): RestoreCounts {
  const counts = { applied: 0, duplicate: 0, refused: 0 }
  for (const { status } of results) counts[status === 'ignored' ? 'refused' : status]++ // nobody has judged them
  return counts
}
