import { compareTimestamps } from '../../core/clock.ts'
import { StoreError } from '../../core/errors.ts'
import type { Operation } from '../../core/operation.ts'
import { isMergedField } from '../../core/record/field-merge.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import type { PastEndStore } from './past-ends.ts'

/** What may be dropped. null: nothing. */
export interface CompactionRules {
  /** Superseded operations that were written before, ms since the epoch. */
  readonly supersededBefore: number | null
  /** Records that were deleted before, by the clock of whoever did; ms since the epoch. */
  readonly deletedBefore: number | null
  /**
   * Deleted records go only if nothing of them was stored after this delivery sequence. Default: the end of
   * the log.
   */
  readonly deletedThrough?: number
}

export interface CompactionStep {
  /** Where the next step goes on; null: this was the last one. Where this one began: it is held, and has done nothing. */
  readonly after: number | null
  /** Records that were looked at. */
  readonly records: number
  /** One per collection that something was dropped of. */
  readonly dropped: readonly DroppedCount[]
}

export interface DroppedCount {
  readonly collection: string
  readonly operations: number
  /** What their rows held; indexes come on top. */
  readonly bytes: number
  /** Deleted records that were forgotten. */
  readonly tombstones: number
}

/** What is kept of an operation that was dropped. */
export interface DroppedOperation {
  /** Another than it had where that did not follow from its content. @see append/dropped-ids.ts */
  readonly operationId: string
  readonly nodeId: string
  readonly sequenceNumber: number
  readonly collection: string
  readonly recordId: string
  readonly wallTime: number
  readonly logical: number
  /** True when its whole record was forgotten: it then says nothing of the record. */
  readonly isPurged: boolean
}

/** A dropped operation as `listDropped` returns it. */
export interface ListedDropped extends DroppedOperation {
  /** Where `listDropped` goes on from. */
  readonly position: number
}

/** What compaction needs of a store. */
export interface CompactableStore extends Pick<PastEndStore, 'readPastEnds' | 'writePastEnds'> {
  /**
   * Drops what the rules allow of the next records, in one short transaction. Safe to repeat and to
   * interrupt.
   *
   * @param after 0 at first, then what the step before has returned
   * @param options.isPlan true: only counts
   * @throws StoreError `NO_SCHEMA`
   */
  compactStep(
    after: number,
    rules: CompactionRules,
    options?: { readonly isPlan?: boolean },
  ): Promise<CompactionStep>
  /** Records that a compaction goes through, about. */
  countRecords(): Promise<number>
  /** How many operations were dropped, of a record or of all; those of forgotten records are in the latter. */
  countDropped(record?: { readonly collection: string; readonly recordId: string }): Promise<number>
  /** Every dropped operation, in pages; `after` is the position of the last one seen, 0 at first. */
  listDropped(after: number, limit: number): Promise<readonly ListedDropped[]>
  /**
   * Holds every step that would drop something, from the end of one that runs on. Several may hold them at once.
   *
   * @returns what lets go
   */
  holdCompaction(): Promise<() => Promise<void>>
  /**
   * Runs `action` while no other process of the database compacts.
   *
   * @returns null when one does: nothing was run
   */
  withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null>
  /** Gives freed space back to the file system; absent where the database does that itself. */
  vacuum?(): Promise<void>
}

/** @throws StoreError `NO_SCHEMA` */
export function requireSchemaToCompact(schema: SchemaDefinition | null): void {
  if (schema !== null) return
  throw new StoreError(
    'NO_SCHEMA',
    'Compaction needs the schema: it says which fields are merged by content.',
  )
}

/**
 * True where the traces of a record's dropped operations may decide what it holds: a change of what is merged
 * by content replaces instead where the record was deleted.
 */
export function dependsOnTraces(
  { isPurged, lastDeleteAt, fieldVersions }: RecordState,
  collection: CollectionDefinition | null,
): boolean {
  if (isPurged === true || lastDeleteAt === null || collection === null) return false
  return Object.keys(fieldVersions).some((field) => isMergedField(collection, field))
}

/**
 * Whether a restore may note a dropped operation with a record of the store. Not where the whole record was forgotten
 * elsewhere, but lives or lies deleted here since before: its deletion is yet to come, and would be a duplicate.
 */
export function mayNoteDropped(
  { isPurged, lastInsertAt }: RecordState,
  { isPurged: isForgotten, wallTime, logical, nodeId }: DroppedOperation,
): boolean {
  if (!isForgotten || isPurged === true) return true
  return lastInsertAt !== null && compareTimestamps(lastInsertAt, { wallTime, logical, nodeId }) > 0
}

/**
 * A dropped operation as the replays of its record know it: it wrote nothing that lasts, but the
 * record lived when it was written.
 */
export function toTrace(dropped: Omit<DroppedOperation, 'isPurged'>): Operation {
  const { operationId, nodeId, sequenceNumber, collection, recordId, wallTime, logical } = dropped
  return {
    id: operationId,
    nodeId,
    type: 'update',
    collection,
    recordId,
    data: {},
    previousData: {},
    timestamp: { wallTime, logical, nodeId },
    sequenceNumber,
    causalDeps: [],
    schemaVersion: 1,
  }
}
