import type { AtomicType, FieldValues, Timestamp } from '../operation.ts'

/** Who wrote a field last, and how: what decides the next write to it. */
export interface FieldVersion {
  readonly timestamp: Timestamp
  /** A later atomic operation of the same type composes; anything else replaces. */
  readonly writer: 'plain' | AtomicType
}

/**
 * A record as the fold of its operations so far, with what is needed to fold the next one. Two
 * states of the same operations are equal, whatever the order of arrival.
 */
export interface RecordState {
  /** Every field as folded. Kept under a tombstone, because a later update brings them back. */
  readonly values: FieldValues
  readonly fieldVersions: { readonly [field: string]: FieldVersion }
  readonly isDeleted: boolean
  /** Holds an end-to-end encrypted operation: values are opaque. */
  readonly isEncrypted: boolean
  /** wallTime of the earliest operation, ms */
  readonly createdAt: number
  /** wallTime of the newest operation, ms */
  readonly updatedAt: number
  /** Clock and id of the newest operation folded: what arrives above it is in order. */
  readonly newest: { readonly timestamp: Timestamp; readonly operationId: string }
}
