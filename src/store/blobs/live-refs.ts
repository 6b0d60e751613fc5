import { blobRefsOf } from '../../core/blob-ref.ts'
import type { RecordState } from '../../core/record/state.ts'

/**
 * The blobs and manifests that must be there for the record. One that was deleted keeps its own for a while: a
 * late update brings it back with all its fields.
 *
 * @param deletedAfter ms since the epoch: what was deleted later counts as live
 */
export function liveRefsOf(
  { values, isDeleted, lastDeleteAt }: RecordState,
  deletedAfter: number,
): readonly string[] {
  const isLive = !isDeleted || (lastDeleteAt !== null && lastDeleteAt.wallTime > deletedAfter)
  return isLive ? blobRefsOf(values) : []
}
