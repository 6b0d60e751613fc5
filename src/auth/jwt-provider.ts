import type { Logger } from '../core/logger.ts'
import { silentLogger } from '../core/logger.ts'
import { isUserId } from './checked-context.ts'
import { ExplainingProvider } from './explaining-provider.ts'
import type { AuthContext } from './provider.ts'
import type { Claims, ScopeSource } from './scope-templates.ts'
import { type GrantKinds, grantKindsOf, readClaim, resolveScopes } from './scope-templates.ts'
import type { AuthVerdict, TokenRefusal, TokenVerifier } from './token-verdict.ts'
import { refuseToken } from './token-verdict.ts'
import { callUserCode } from './user-callback.ts'

export interface JwtAuthProviderOptions {
  readonly verifier: TokenVerifier
  /** Claim, or path of claims, that holds the user id. Default `'sub'`. */
  readonly userIdClaim?: string
  /** Absent: an authenticated user sees everything. */
  readonly scopes?: ScopeSource | undefined
  /** Logs errors that the scopes function throws. */
  readonly logger?: Logger
}

/** Turns verified tokens into users with scopes. */
export class JwtAuthProvider extends ExplainingProvider {
  readonly #verifier: TokenVerifier
  readonly #userIdClaim: string
  readonly #scopes: ScopeSource | undefined
  readonly #logger: Logger

  constructor({ verifier, userIdClaim = 'sub', scopes, logger = silentLogger }: JwtAuthProviderOptions) {
    super()
    this.#verifier = verifier
    this.#userIdClaim = userIdClaim
    this.#scopes = scopes
    this.#logger = logger
  }

  override get grantKinds(): GrantKinds {
    return grantKindsOf(this.#scopes, this.#userIdClaim)
  }

  async explain(token: string): Promise<AuthVerdict> {
    const verdict = await this.#verifier.verify(token)
    if (!verdict.isAccepted) return verdict
    const { claims, endsAt } = verdict
    const userId = readUserId(claims, this.#userIdClaim)
    if (typeof userId === 'object') return userId
    const scopes = await this.#resolveScopes(claims, token)
    if (scopes === undefined) return refuseToken('SCOPES_FAILED')
    return {
      isAccepted: true,
      claims,
      context: {
        userId,
        ...(scopes !== null && { scopes }),
        ...(isUserId(claims.dev) && { deviceId: claims.dev }),
        ...timeClaim('expiresAt', endsAt),
        ...timeClaim('issuedAt', claims.iat),
      },
    }
  }

  async #resolveScopes(claims: Claims, token: string): Promise<AuthContext['scopes'] | null> {
    const source = this.#scopes
    if (source === undefined) return null
    return callUserCode(() => resolveScopes(source, claims), {
      name: 'auth.scopes',
      token,
      logger: this.#logger,
    })
  }
}

/** Reads the user id, which must be text. In a claim of the issuer's own choice, a whole number is accepted too. */
function readUserId(claims: Claims, name: string): string | TokenRefusal {
  const value = readClaim(claims, name)
  if (isUserId(value)) return value
  if (name !== 'sub' && Number.isSafeInteger(value)) return String(value)
  return value === undefined
    ? refuseToken('CLAIM_MISSING', `The claim ${name} is missing.`)
    : refuseToken('CLAIM_INVALID', `The claim ${name} is not a user id, which is text that is not empty.`)
}

const LAST_INSTANT_MS = 8_640_000_000_000_000 // what a Date can hold

/** Claims count seconds, contexts milliseconds. */
function timeClaim<Name extends string>(name: Name, seconds: unknown): { [name in Name]?: number } {
  if (typeof seconds !== 'number' || !Number.isFinite(seconds)) return {}
  const instant: { [name in Name]?: number } = {}
  instant[name] = Math.min(seconds * 1000, LAST_INSTANT_MS)
  return instant
}
