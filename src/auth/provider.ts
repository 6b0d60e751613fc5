import type { ScopeMap } from '../core/scope.ts'

/**
 * Collection → field → the value that a record must have, as application code names it. A filter with a
 * value that cannot be matched (undefined, an array, an object) hides its collection.
 */
export type GivenScopes = { readonly [collection: string]: { readonly [field: string]: unknown } }

/** Who a client is, and what it may see and write. */
export interface AuthContext {
  readonly userId: string
  /** Absent: everything. */
  readonly scopes?: GivenScopes
  readonly metadata?: { readonly [key: string]: unknown }
  /** ms since the epoch; the session ends then, so that the client comes back with a fresh token. */
  readonly expiresAt?: number
  /** ms since the epoch; tokens issued before a revocation are refused. */
  readonly issuedAt?: number
  /** The device that the token was issued to; binds the node id of the session. */
  readonly deviceId?: string
  /** True for a generated identity that nobody can prove again. */
  readonly isAnonymous?: boolean
}

/** A context whose scopes can be matched. @see checkContext */
export interface CheckedAuthContext extends AuthContext {
  readonly scopes?: ScopeMap
}

export interface AuthProvider {
  /** @returns null to refuse the connection */
  authenticate(token: string): Promise<AuthContext | null>
}
