import type { JWTPayload, JWTVerifyOptions } from 'jose'
import { decodeProtectedHeader } from 'jose/decode/protected_header'
import * as errors from 'jose/errors'
import { jwtVerify } from 'jose/jwt/verify'
import type { Runtime } from '../core/runtime.ts'
import type { KeySource } from './key-source.ts'
import { endOfToken } from './token-end.ts'
import { hasCanonicalSignature, SIGNATURE_NOT_CANONICAL } from './token-spelling.ts'
import type { TokenRefusal, TokenVerdict, TokenVerifier } from './token-verdict.ts'
import { refuseToken } from './token-verdict.ts'
import type { VerificationKey } from './verification-key.ts'

export const MAX_TOKEN_LENGTH = 8_192 // characters; what proxies allow for a header; real tokens have 1 KB
const MAX_KEYS_TO_TRY = 16 // without a kid every key is tried, at 50 µs each

export interface JwtVerifierOptions {
  readonly keySource: KeySource
  readonly issuer?: string | readonly string[] | undefined
  readonly audience?: string | readonly string[] | undefined
  readonly clockToleranceMs: number
  readonly runtime: Pick<Runtime, 'now'>
}

/**
 * Verifies signed JWTs. Keys and algorithms come from the configuration; a token's header can only select among
 * them, and its `jku`, `x5u` and `jwk` are ignored.
 *
 * @see RFC 7519; RFC 8725, JSON Web Token Best Current Practices
 */
export class JwtVerifier implements TokenVerifier {
  readonly #options: JwtVerifierOptions

  constructor(options: JwtVerifierOptions) {
    this.#options = options
  }

  async verify(token: string): Promise<TokenVerdict> {
    const header = parseHeader(token)
    if ('reason' in header) return header
    const keys = await this.#options.keySource.find(header.kid, token)
    if (typeof keys === 'string') return refuseToken(keys)
    if (keys.length === 0) return refuseToken('KEY_UNKNOWN')
    const fitting = keys.filter((key) => key.algorithms.includes(header.alg))
    if (fitting.length === 0) return refuseToken('ALGORITHM_NOT_ALLOWED')
    return this.#verifyWithAny(token, fitting.slice(0, MAX_KEYS_TO_TRY))
  }

  async #verifyWithAny(token: string, keys: readonly VerificationKey[]): Promise<TokenVerdict> {
    if (!hasCanonicalSignature(token)) return refuseToken('SIGNATURE_INVALID', SIGNATURE_NOT_CANONICAL)
    for (const { key, algorithms } of keys) {
      try {
        const { payload } = await jwtVerify(token, key, this.#verifyOptions(algorithms))
        return this.#checkClaims(payload)
      } catch (error) {
        if (error instanceof errors.JWSSignatureVerificationFailed) continue
        return describeRefusal(error)
      }
    }
    return refuseToken('SIGNATURE_INVALID')
  }

  #checkClaims(claims: JWTPayload): TokenVerdict {
    const { exp } = claims
    // JSON.parse reads 1e999 as Infinity, which would make a token that never expires.
    if (exp === undefined || !Number.isFinite(exp))
      return refuseToken('CLAIM_INVALID', 'The claim exp is not a time.')
    const { clockToleranceMs, runtime } = this.#options
    return { isAccepted: true, claims, endsAt: endOfToken(exp, clockToleranceMs, runtime.now()) }
  }

  #verifyOptions(algorithms: readonly string[]): JWTVerifyOptions {
    const { issuer, audience, clockToleranceMs, runtime } = this.#options
    return {
      algorithms: [...algorithms],
      clockTolerance: clockToleranceMs / 1000,
      currentDate: new Date(runtime.now()),
      requiredClaims: ['exp'],
      ...(issuer !== undefined && { issuer: toArray(issuer) }),
      ...(audience !== undefined && { audience: toArray(audience) }),
    }
  }
}

interface TokenHeader {
  readonly alg: string
  readonly kid: string | undefined
}

function parseHeader(token: string): TokenHeader | TokenRefusal {
  if (token === '') return refuseToken('TOKEN_MISSING')
  if (token.length > MAX_TOKEN_LENGTH) return refuseToken('TOKEN_TOO_LONG')
  const segments = token.split('.').length
  if (segments === 5)
    return refuseToken('TOKEN_MALFORMED', 'The token is encrypted (JWE); send a signed one.')
  if (segments !== 3) return refuseToken('TOKEN_MALFORMED')
  try {
    const { alg, kid } = decodeProtectedHeader(token)
    if (typeof alg !== 'string') return refuseToken('TOKEN_MALFORMED', 'The header of the token has no alg.')
    if (kid !== undefined && typeof kid !== 'string') {
      return refuseToken('TOKEN_MALFORMED', 'The kid in the header of the token is not text.')
    }
    return { alg, kid }
  } catch {
    return refuseToken('TOKEN_MALFORMED')
  }
}

/** Our own words for the reasons, because a library's messages may change, and may quote the token. */
function describeRefusal(error: unknown): TokenRefusal {
  if (error instanceof errors.JWTExpired) return refuseToken('TOKEN_EXPIRED')
  if (error instanceof errors.JWTClaimValidationFailed) return describeClaimRefusal(error)
  if (error instanceof errors.JOSENotSupported) return refuseToken('HEADER_UNSUPPORTED')
  if (error instanceof errors.JOSEAlgNotAllowed) return refuseToken('ALGORITHM_NOT_ALLOWED')
  return refuseToken('TOKEN_MALFORMED')
}

function describeClaimRefusal(error: errors.JWTClaimValidationFailed): TokenRefusal {
  if (error.reason === 'missing') {
    return refuseToken('CLAIM_MISSING', `The claim ${error.claim} is missing.`)
  }
  if (error.claim === 'iss') return refuseToken('ISSUER_MISMATCH')
  if (error.claim === 'aud') return refuseToken('AUDIENCE_MISMATCH')
  if (error.claim === 'nbf' && error.reason === 'check_failed') return refuseToken('TOKEN_NOT_YET_VALID')
  return refuseToken('CLAIM_INVALID', `The claim ${error.claim} has a value that cannot be used.`)
}

function toArray(value: string | readonly string[]): string[] {
  return typeof value === 'string' ? [value] : [...value]
}
