import * as errors from 'jose/errors'
import { compactVerify } from 'jose/jws/compact/verify'
import type { Runtime } from '../core/runtime.ts'
import { MAX_TOKEN_LENGTH } from './jwt-verifier.ts'
import { endOfToken } from './token-end.ts'
import { hasCanonicalSignature, SIGNATURE_NOT_CANONICAL } from './token-spelling.ts'
import type { TokenRefusal, TokenVerdict, TokenVerifier } from './token-verdict.ts'
import { refuseToken } from './token-verdict.ts'
import type { VerificationKey } from './verification-key.ts'
import { parseJsonObject } from './verification-key.ts'

// Base64url of {"alg":"HS256","typ":"JWT"}, the only header that tokens of @korajs/auth have.
const KORA_HEADER = 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9'
export const KORA_LEEWAY_SECONDS = 5 // the same as in @korajs/auth

export interface KoraTokenVerifierOptions {
  /** Any of them may have signed a token. */
  readonly keys: readonly VerificationKey[]
  readonly runtime: Pick<Runtime, 'now'>
}

/** Verifies the access tokens of `@korajs/auth`. @see docs/protocol.md, "Tokens" */
export class KoraTokenVerifier implements TokenVerifier {
  readonly #keys: readonly VerificationKey[]
  readonly #runtime: Pick<Runtime, 'now'>

  constructor({ keys, runtime }: KoraTokenVerifierOptions) {
    this.#keys = keys
    this.#runtime = runtime
  }

  async verify(token: string): Promise<TokenVerdict> {
    if (token === '') return refuseToken('TOKEN_MISSING')
    if (token.length > MAX_TOKEN_LENGTH) return refuseToken('TOKEN_TOO_LONG')
    const segments = token.split('.')
    if (segments.length !== 3) return refuseToken('TOKEN_MALFORMED')
    if (segments[0] !== KORA_HEADER) {
      return refuseToken('HEADER_UNSUPPORTED', 'The header is not the one of tokens of @korajs/auth.')
    }
    if (!hasCanonicalSignature(token)) return refuseToken('SIGNATURE_INVALID', SIGNATURE_NOT_CANONICAL)
    for (const { key } of this.#keys) {
      const payload = await verifySignature(token, key)
      if (payload !== null) return checkKoraClaims(payload, this.#runtime.now())
    }
    return refuseToken('SIGNATURE_INVALID')
  }
}

async function verifySignature(token: string, key: VerificationKey['key']): Promise<Uint8Array | null> {
  try {
    return (await compactVerify(token, key, { algorithms: ['HS256'] })).payload
  } catch (error) {
    if (error instanceof errors.JOSEError) return null
    throw error
  }
}

function checkKoraClaims(payload: Uint8Array, nowMs: number): TokenVerdict {
  const claims = parseJsonObject(Buffer.from(payload).toString('utf8'))
  if (claims === null) return refuseToken('TOKEN_MALFORMED')
  const problem =
    ['jti', 'sub', 'dev', 'type'].map((name) => claimProblem(claims, name, isFilledText)).find(isProblem) ??
    ['iat', 'exp'].map((name) => claimProblem(claims, name, Number.isFinite)).find(isProblem)
  if (problem) return problem
  if (claims.type !== 'access') {
    return refuseToken(
      'CLAIM_INVALID',
      `The claim type is ${JSON.stringify(claims.type)}; sync needs "access".`,
    )
  }
  const exp = claims.exp as number // checked by the loop above
  if (nowMs / 1000 > exp + KORA_LEEWAY_SECONDS) return refuseToken('TOKEN_EXPIRED')
  return { isAccepted: true, claims, endsAt: endOfToken(exp, KORA_LEEWAY_SECONDS * 1000, nowMs) }
}

function claimProblem(
  claims: { readonly [claim: string]: unknown },
  name: string,
  isValid: (value: unknown) => boolean,
): TokenRefusal | null {
  if (!Object.hasOwn(claims, name)) return refuseToken('CLAIM_MISSING', `The claim ${name} is missing.`)
  return isValid(claims[name])
    ? null
    : refuseToken('CLAIM_INVALID', `The claim ${name} has a value that cannot be used.`)
}

function isProblem(problem: TokenRefusal | null): problem is TokenRefusal {
  return problem !== null
}

function isFilledText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}
