import { compareTimestamps } from '../../core/clock.ts'
import { StoreError } from '../../core/errors.ts'
import type { Operation } from '../../core/operation.ts'
import { isMergedField } from '../../core/record/field-merge.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import type { PastEndStore } from './past-ends.ts'

/** What may be dropped; null: nothing of the kind. */
export interface CompactionRules {
  /** Superseded operations may go if they were written before this, ms since the epoch. */
  readonly supersededBefore: number | null
  /** Deleted records may go if they were deleted before this by the deleting device's clock, ms since the epoch. */
  readonly deletedBefore: number | null
  /**
   * Deleted records may go only if nothing of them was stored after this delivery sequence. Default: the end of the
   * log.
   */
  readonly deletedThrough?: number
}

export interface CompactionStep {
  /**
   * Start of the next step; null: this was the last one. The start of this step: compaction is held, and nothing
   * was done.
   */
  readonly after: number | null
  /** Number of records that were examined. */
  readonly records: number
  /** One entry for each collection from which something was dropped. */
  readonly dropped: readonly DroppedCount[]
}

export interface DroppedCount {
  readonly collection: string
  readonly operations: number
  /** Bytes of the dropped rows, without indexes. */
  readonly bytes: number
  /** Number of deleted records that were purged. */
  readonly tombstones: number
}

/** The note that is kept of a dropped operation. */
export interface DroppedOperation {
  /** Differs from the operation's id if that did not follow from its content. @see append/dropped-ids.ts */
  readonly operationId: string
  readonly nodeId: string
  readonly sequenceNumber: number
  readonly collection: string
  readonly recordId: string
  readonly wallTime: number
  readonly logical: number
  /** True when its whole record was purged, so that the note says nothing about the record. */
  readonly isPurged: boolean
}

/** A dropped operation, as returned by `listDropped`. */
export interface ListedDropped extends DroppedOperation {
  /** Where the next page of `listDropped` starts. */
  readonly position: number
}

/** The part of a store that compaction needs. */
export interface CompactableStore extends Pick<PastEndStore, 'readPastEnds' | 'writePastEnds'> {
  /**
   * Drops what the rules allow among the next records, in one short transaction. Safe to repeat and to interrupt.
   *
   * @param after 0 at first, then the result of the previous step
   * @param options.isPlan true: only counts
   * @throws StoreError `NO_SCHEMA`
   */
  compactStep(
    after: number,
    rules: CompactionRules,
    options?: { readonly isPlan?: boolean },
  ): Promise<CompactionStep>
  /** Approximate number of records that a compaction examines. */
  countRecords(): Promise<number>
  /** Number of dropped operations, of one record or of all; only the latter includes purged records. */
  countDropped(record?: { readonly collection: string; readonly recordId: string }): Promise<number>
  /** Every dropped operation, in pages; `after` is the position of the last one seen, 0 at first. */
  listDropped(after: number, limit: number): Promise<readonly ListedDropped[]>
  /**
   * Holds all compaction steps that would drop something, starting once a running step has ended. Several holds may
   * overlap.
   *
   * @returns a function that ends the hold
   */
  holdCompaction(): Promise<() => Promise<void>>
  /**
   * Runs `action` while no other process of the database compacts.
   *
   * @returns null when another process does: `action` was not run
   */
  withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null>
  /** Returns freed space to the file system; absent where the database does that itself. */
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
 * True where the traces of dropped operations may decide the record's values: on a deleted record, a write to a
 * field that is merged by content replaces the value instead.
 */
export function dependsOnTraces(
  { isPurged, lastDeleteAt, fieldVersions }: RecordState,
  collection: CollectionDefinition | null,
): boolean {
  if (isPurged === true || lastDeleteAt === null || collection === null) return false
  return Object.keys(fieldVersions).some((field) => isMergedField(collection, field))
}

/**
 * True where a restore may add the note of a dropped operation to a record of the store. False if the record was
 * purged elsewhere, but here is live, or was deleted before: its deletion has yet to come, and would then count as
 * a duplicate.
 */
export function mayNoteDropped(
  { isPurged, lastInsertAt }: RecordState,
  { isPurged: isForgotten, wallTime, logical, nodeId }: DroppedOperation,
): boolean {
  if (!isForgotten || isPurged === true) return true
  return lastInsertAt !== null && compareTimestamps(lastInsertAt, { wallTime, logical, nodeId }) > 0
}

/**
 * A dropped operation as replays of its record need it: without lasting writes, but as evidence that the record was
 * live when it was written.
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
