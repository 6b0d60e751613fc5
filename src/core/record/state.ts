import type { AtomicType, FieldValues, Timestamp } from '../operation.ts'

/** The last writer of a field, which decides how the next write to it is folded. */
export interface FieldVersion {
  readonly timestamp: Timestamp
  /** A later atomic operation of the same type composes; anything else replaces. */
  readonly writer: 'plain' | AtomicType
  /** Present when the writer is atomic. */
  readonly run?: AtomicRun
}

/**
 * The unbroken run of atomic operations of one type that ends with a field's last writer. An operation that arrives
 * late, but falls into the run, can be composed where order does not matter.
 */
export interface AtomicRun {
  /** The first operation of the run, whose resolved value was taken as it is. */
  readonly since: Timestamp
  /**
   * For increments: the sum of the absolute values of all summands while all are integers and the
   * sum is exact, which makes their order irrelevant. null otherwise.
   */
  readonly magnitude: number | null
}

/**
 * A record as the fold of its operations so far, with what is needed to fold the next one. Two
 * states of the same operations are equal, whatever the order of arrival.
 */
export interface RecordState {
  /**
   * The value of every field. Kept under a tombstone, because a later update brings the fields back. End-to-end
   * encrypted payloads leave no values: an encrypted update keeps the present fields, an encrypted insert drops
   * them.
   */
  readonly values: FieldValues
  /** Includes fields without a value: the last writer of a field outlives an insert that dropped its value. */
  readonly fieldVersions: { readonly [field: string]: FieldVersion }
  /** Also true when there have been only deletes. */
  readonly isDeleted: boolean
  /** True when an end-to-end encrypted operation is newer than the newest insert in the clear: values are incomplete. */
  readonly isEncrypted: boolean
  /**
   * True when, in addition, no insert in the clear stands below: then it is unknown, too, what a field without a value
   * holds.
   */
  readonly isSealed: boolean
  /** True when the record has an insert or update without data, which the fold passes over. */
  readonly hasSkipped: boolean
  /** True for a record that was deleted and purged: only that, and the time of the deletion, is known. */
  readonly isPurged?: true
  /** wallTime of the earliest operation, ms */
  readonly createdAt: number
  /** wallTime of the newest operation, ms */
  readonly updatedAt: number
  /** Clock of the newest insert: writes before it have left no value. */
  readonly lastInsertAt: Timestamp | null
  /** Clock of the newest delete, even if the record has come back since. */
  readonly lastDeleteAt: Timestamp | null
  /** Clock and id of the newest operation folded: an operation above it arrives in order. */
  readonly newest: { readonly timestamp: Timestamp; readonly operationId: string }
}
