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
  /** Sets the subject's revocation under a new version; `revokedAt` never goes back. */
  revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation>
  /** @returns false when there was none */
  undoRevocation(subject: RevocationSubject): Promise<boolean>
  /** Those above a version, ascending. */
  listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]>
  /** Those of the subjects, by an index. */
  findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]>
}
