import type { ScopeMap } from '../core/scope.ts'

/**
 * Collection → field → the value that a record must have, as application code gives it. A filter with a value that
 * cannot be compared (undefined, an array, an object) hides its collection.
 */
export type GivenScopes = { readonly [collection: string]: { readonly [field: string]: unknown } }

/**
 * The identity of a client, and what it may see and write. A value of a wrong type, except for `metadata`, refuses
 * the client.
 */
export interface AuthContext {
  /** Non-empty text without control characters. */
  readonly userId: string
  /** Absent: everything. @see GivenScopes */
  readonly scopes?: GivenScopes | undefined
  /** The application's own data, for `validateOperation`. The server does not read it. */
  readonly metadata?: { readonly [key: string]: unknown } | undefined
  /**
   * ms since the epoch: the session ends then, so that the client returns with a fresh token. Absent or Infinity:
   * never.
   */
  readonly expiresAt?: number | undefined
  /** ms since the epoch; tokens issued before a revocation are refused. */
  readonly issuedAt?: number | undefined
  /** The device that the token was issued to, which binds the node id of the session. */
  readonly deviceId?: string | undefined
  /** True for a generated identity that cannot be proved again. */
  readonly isAnonymous?: boolean | undefined
}

/** A context whose scopes can be enforced. @see checkContext */
export interface CheckedAuthContext extends AuthContext {
  readonly scopes?: ScopeMap
}

/** Identifies a client by the token of its handshake. */
export interface AuthProvider {
  /**
   * Returns the client's context, or null. An error that it throws also refuses the client, and is logged, but
   * never makes it an anonymous visitor.
   *
   * @param token `''` where the client has sent none
   * @returns null to refuse the connection
   */
  authenticate(token: string): Promise<AuthContext | null>
}

/** True for a provider, as far as that can be checked for an untyped program. */
export function isAuthProvider(value: unknown): value is AuthProvider {
  return typeof (value as Partial<AuthProvider> | null | undefined)?.authenticate === 'function' // `?.` reads of anything
}
