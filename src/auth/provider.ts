import type { ScopeMap } from '../core/scope.ts'

/**
 * Collection → field → the value that a record must have, as application code names it. A filter with a
 * value that cannot be matched (undefined, an array, an object) hides its collection.
 */
export type GivenScopes = { readonly [collection: string]: { readonly [field: string]: unknown } }

/** Who a client is, and what it may see and write. A value of another type, but for `metadata`, lets nobody in. */
export interface AuthContext {
  /** Text that is not empty, without control characters. */
  readonly userId: string
  /** Absent: everything. @see GivenScopes */
  readonly scopes?: GivenScopes | undefined
  /** Data of the application's own, for `validateOperation`. The server does not look at it. */
  readonly metadata?: { readonly [key: string]: unknown } | undefined
  /** ms since the epoch; the session ends then, so that the client comes back with a fresh token. Absent or Infinity: never. */
  readonly expiresAt?: number | undefined
  /** ms since the epoch; tokens issued before a revocation are refused. */
  readonly issuedAt?: number | undefined
  /** The device that the token was issued to; binds the node id of the session. */
  readonly deviceId?: string | undefined
  /** True for a generated identity that nobody can prove again. */
  readonly isAnonymous?: boolean | undefined
}

/** A context whose scopes can be matched. @see checkContext */
export interface CheckedAuthContext extends AuthContext {
  readonly scopes?: ScopeMap
}

/** Tells who a client is from the token of its handshake. */
export interface AuthProvider {
  /**
   * An error that it throws refuses the client, too, and stands in the log; but nobody becomes a visitor by it.
   *
   * @param token `''` where the client has sent none
   * @returns null to refuse the connection
   */
  authenticate(token: string): Promise<AuthContext | null>
}

/** True for what can be asked, as far as a program without types can be believed. */
export function isAuthProvider(value: unknown): value is AuthProvider {
  return typeof (value as Partial<AuthProvider> | null | undefined)?.authenticate === 'function' // `?.` reads of anything
}
