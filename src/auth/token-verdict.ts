import type { AuthContext } from './provider.ts'
import type { Claims } from './scope-templates.ts'

/**
 * Reasons for refusing a token, for logs and `kora-server token inspect`. Clients learn only that authentication
 * failed, or was not possible.
 */
export const TOKEN_REFUSALS = {
  TOKEN_MISSING: 'The client sent no token.',
  TOKEN_TOO_LONG: 'The token is longer than 8,192 characters.',
  TOKEN_MALFORMED: 'The token is not a signed JWT in compact form.',
  HEADER_UNSUPPORTED: 'The header of the token asks for something that is not supported.',
  ALGORITHM_NOT_ALLOWED: 'No configured key may be used with the algorithm of the token.',
  KEY_UNKNOWN: 'No configured key has the kid of the token.',
  KEYS_UNAVAILABLE: 'The JWKS could not be fetched yet.',
  KEY_UNCONFIRMED:
    'No known key has the kid of the token, and the JWKS has not been fetched since the token first came.',
  SIGNATURE_INVALID: 'The signature fits none of the keys.',
  TOKEN_EXPIRED: 'The time in exp has passed.',
  TOKEN_NOT_YET_VALID: 'The time in nbf has not come.',
  ISSUER_MISMATCH: 'The claim iss is not the configured issuer.',
  AUDIENCE_MISMATCH: 'The claim aud does not name the configured audience.',
  CLAIM_MISSING: 'A claim that is required is missing.',
  CLAIM_INVALID: 'A claim has a value that cannot be used.',
  SCOPES_FAILED: 'The scopes function of the configuration failed.',
  PROVIDER_FAILED: "The application's authentication code failed.",
  REFUSED_BY_PROVIDER: 'The auth provider refused the token without giving a reason.',
} as const satisfies Record<string, string>

export type TokenRefusalReason = keyof typeof TOKEN_REFUSALS

export interface TokenRefusal {
  readonly isAccepted: false
  readonly reason: TokenRefusalReason
  /** One sentence for the operator; never contains the token. */
  readonly message: string
}

/** The verdict on a token's signature and registered claims. */
export type TokenVerdict =
  | {
      readonly isAccepted: true
      readonly claims: Claims
      /** Seconds since the epoch. @see endOfToken */
      readonly endsAt: number
    }
  | TokenRefusal

/** The verdict on a token as a whole. */
export type AuthVerdict =
  | {
      readonly isAccepted: true
      readonly context: AuthContext
      readonly claims: Claims
      /** Set when the token was refused and its owner is served as an anonymous user. */
      readonly degradedBy?: TokenRefusal
    }
  | TokenRefusal

/** Tells genuine tokens from others; has no part in users or scopes. */
export interface TokenVerifier {
  verify(token: string): Promise<TokenVerdict>
}

/** @param detail what is special about this token; default: the general meaning of the reason */
export function refuseToken(reason: TokenRefusalReason, detail?: string): TokenRefusal {
  return { isAccepted: false, reason, message: detail ?? TOKEN_REFUSALS[reason] }
}

const FAILURES_OF_KEYS: readonly TokenRefusalReason[] = ['KEYS_UNAVAILABLE', 'KEY_UNCONFIRMED']
const FAILURES: readonly TokenRefusalReason[] = [...FAILURES_OF_KEYS, 'SCOPES_FAILED', 'PROVIDER_FAILED']

/** True when the token could not be judged: it may be good, and accepted next time. */
export function isFailure({ reason }: TokenRefusal): boolean {
  return FAILURES.includes(reason)
}

/** True when the keys could not be fetched. */
export function isOfKeys({ reason }: TokenRefusal): boolean {
  return FAILURES_OF_KEYS.includes(reason)
}
