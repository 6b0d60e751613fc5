import type { AtomicType, FieldValues, Timestamp } from '../operation.ts'

/** Who wrote a field last, and how: what decides the next write to it. */
export interface FieldVersion {
  readonly timestamp: Timestamp
  /** A later atomic operation of the same type composes; anything else replaces. */
  readonly writer: 'plain' | AtomicType
  /** Present when the writer is atomic. */
  readonly run?: AtomicRun
}

/**
 * The unbroken run of atomic operations of one type that a field's last writer belongs to. An
 * operation that arrives late but falls into the run can be composed where order does not matter.
 */
export interface AtomicRun {
  /** The first operation of the run: the one whose resolved value was taken. */
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
   * Every field as folded. Kept under a tombstone, because a later update brings them back.
   * End-to-end encrypted payloads leave nothing here: an encrypted update keeps the fields there
   * are, an encrypted insert none.
   */
  readonly values: FieldValues
  /** Also of fields without a value: who wrote a field outlives the insert that dropped it. */
  readonly fieldVersions: { readonly [field: string]: FieldVersion }
  /** Also true while there has been nothing but deletes. */
  readonly isDeleted: boolean
  /** Holds an end-to-end encrypted operation newer than its newest insert in the clear: values are incomplete. */
  readonly isEncrypted: boolean
  /** Holds an insert or update without data, which the fold passes over. */
  readonly hasSkipped: boolean
  /**
   * True for a record that was deleted and forgotten: nothing but that, and the time of the deletion, is
   * known.
   */
  readonly isPurged?: true
  /** wallTime of the earliest operation, ms */
  readonly createdAt: number
  /** wallTime of the newest operation, ms */
  readonly updatedAt: number
  /** Clock of the newest insert: what is earlier has left no value. */
  readonly lastInsertAt: Timestamp | null
  /** Clock of the newest delete, also when the record has come back since. */
  readonly lastDeleteAt: Timestamp | null
  /** Clock and id of the newest operation folded: what arrives above it is in order. */
  readonly newest: { readonly timestamp: Timestamp; readonly operationId: string }
}
