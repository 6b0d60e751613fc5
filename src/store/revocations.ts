import { StoreError } from '../core/errors.ts'
import { isStorableText } from '../core/storable-value.ts'
import { describeValue } from '../protocol/json-value.ts'

/** The subject whose tokens are revoked; `value` is the id of the user or device, or '' for all. */
export interface RevocationSubject {
  readonly kind: 'user' | 'device' | 'all'
  readonly value: string
}

/** Tokens of the subject that were issued up to `revokedAt` are refused. */
export interface Revocation extends RevocationSubject {
  /** ms since the epoch */
  readonly revokedAt: number
  /** Rises with every revocation, in the order in which revocations become visible. */
  readonly version: number
}

/** The revocations in one database, which all of its servers apply. */
export interface RevocationIndex {
  /**
   * Sets the subject's revocation under a new version; `revokedAt` never goes back.
   *
   * @throws StoreError `INVALID_ARGUMENT` for an id that no user or device can have
   */
  revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation>
  /** @returns false when there was none */
  undoRevocation(subject: RevocationSubject): Promise<boolean>
  /** Revocations above a version, ascending. */
  listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]>
  /** Finds the revocations of the subjects, by an index. */
  findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]>
}

/**
 * Refuses an id that could not be restored from a backup.
 *
 * @throws StoreError `INVALID_ARGUMENT`
 */
export function assertSubject(subject: RevocationSubject): void {
  if (isPossibleSubject(subject)) return
  const { kind, value } = subject
  throw new StoreError('INVALID_ARGUMENT', `No ${kind} can have the id ${describeValue(value)}.`)
}

/**
 * False for a subject that cannot have a revocation. PostgreSQL refuses to look up such an id, or finds the id that
 * it turns into in UTF-8.
 */
export function isPossibleSubject({ value }: RevocationSubject): boolean {
  return isStorableText(value)
}
