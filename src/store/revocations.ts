import { StoreError } from '../core/errors.ts'
import { isStorableText } from '../core/storable-value.ts'
import { describeValue } from '../protocol/json-value.ts'

/** Whose tokens are revoked; `value` is the id of the user or device, and '' for all. */
export interface RevocationSubject {
  readonly kind: 'user' | 'device' | 'all'
  readonly value: string
}

/** Tokens of the subject that were issued up to `revokedAt` are refused. */
export interface Revocation extends RevocationSubject {
  /** ms since the epoch */
  readonly revokedAt: number
  /** Rises with every revocation, in the order in which they become readable. */
  readonly version: number
}

/** The revocations of one database: every server on it refuses by them. */
export interface RevocationIndex {
  /**
   * Sets the subject's revocation under a new version; `revokedAt` never goes back.
   *
   * @throws StoreError `INVALID_ARGUMENT` for an id that nobody can have
   */
  revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation>
  /** @returns false when there was none */
  undoRevocation(subject: RevocationSubject): Promise<boolean>
  /** Revocations above a version, ascending. */
  listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]>
  /** Revocations of the subjects, by an index. */
  findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]>
}

/**
 * Refuses an id that a backup could not be restored with.
 *
 * @throws StoreError `INVALID_ARGUMENT`
 */
export function assertSubject(subject: RevocationSubject): void {
  if (isPossibleSubject(subject)) return
  const { kind, value } = subject
  throw new StoreError('INVALID_ARGUMENT', `No ${kind} can have the id ${describeValue(value)}.`)
}

/**
 * False for a subject that no revocation is stored of. PostgreSQL refuses to look for such an id, or finds the one
 * that it becomes in UTF-8.
 */
export function isPossibleSubject({ value }: RevocationSubject): boolean {
  return isStorableText(value)
}
