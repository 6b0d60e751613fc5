import type { ScopeMap } from '../core/scope.ts'

/** Who a client is, and what it may see and write. */
export interface AuthContext {
  readonly userId: string
  /** Absent: everything. @see ScopeMap */
  readonly scopes?: ScopeMap
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

export interface AuthProvider {
  /** @returns null to refuse the connection */
  authenticate(token: string): Promise<AuthContext | null>
}
