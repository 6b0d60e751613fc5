import type { Logger } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { systemRuntime } from '../core/system-runtime.ts'
import { isUserId } from './checked-context.ts'
import { contextToVerdict, ExplainingProvider } from './explaining-provider.ts'
import { KORA_LEEWAY_SECONDS } from './kora-token-verifier.ts'
import type { AuthContext, GivenScopes } from './provider.ts'
import { requireFunction } from './require-function.ts'
import { endOfToken } from './token-end.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { callForVerdict } from './user-callback.ts'

/** The part of a `@korajs/auth` token that is used here. */
export interface KoraTokenPayload {
  /** The user id. */
  readonly sub: string
  /** The device that the token was issued to. */
  readonly dev: string
  /** Only `'access'` is accepted. */
  readonly type: string
  /** seconds since the epoch */
  readonly exp?: number
  /** seconds since the epoch */
  readonly iat?: number
}

/** A validator with at least one of the two methods; the second is preferred. */
export interface KoraTokenValidator {
  validateToken?(token: string): KoraTokenPayload | null
  validateTokenWithRevocation?(token: string): Promise<KoraTokenPayload | null>
}

/** The part of a `@korajs/auth` user that goes into the `metadata` of the context. */
export interface KoraUser {
  readonly email?: string | null
  readonly name?: string | null
}

type FoundUser = KoraUser | null | undefined

export interface KoraAuthProviderOptions {
  tokenValidator: KoraTokenValidator
  userLookup: { findById(userId: string): FoundUser | Promise<FoundUser> }
  /** Called for each device that connects. */
  deviceTracker?: { touchDevice(deviceId: string): unknown } | undefined
  /** Absent: the user sees everything. */
  resolveScopes?: ((userId: string) => GivenScopes | undefined | Promise<GivenScopes | undefined>) | undefined
  /** Logs errors that the functions above throw. Absent: `authenticate` throws them, and the server logs them. */
  logger?: Logger | undefined
  runtime?: Pick<Runtime, 'now'> | undefined
}

/** Binds the token manager and the user store of `@korajs/auth` to the sync server. */
export class KoraAuthProvider extends ExplainingProvider {
  readonly #options: KoraAuthProviderOptions
  readonly #runtime: Pick<Runtime, 'now'>

  /** @throws ConfigError `CONFIG_INVALID` without one of the functions that it asks */
  constructor(options: KoraAuthProviderOptions) {
    super()
    requireFunctions(options)
    this.#options = options
    this.#runtime = options.runtime ?? systemRuntime()
  }

  explain(token: string): Promise<AuthVerdict> {
    return callForVerdict(async () => contextToVerdict(await this.#findContext(token)), {
      name: 'KoraAuthProvider',
      token,
      logger: this.#options.logger,
    })
  }

  async #findContext(token: string): Promise<AuthContext | null> {
    const { userLookup, deviceTracker, resolveScopes } = this.#options
    const payload = await this.#validate(token)
    if (payload?.type !== 'access' || !isUserId(payload.sub)) return null
    const user = await userLookup.findById(payload.sub)
    if (!user) return null
    await deviceTracker?.touchDevice(payload.dev)
    return {
      userId: payload.sub,
      // Scopes that a lookup did not find must not mean that everything is granted.
      ...(resolveScopes && { scopes: requireScopes(await resolveScopes.call(this.#options, payload.sub)) }),
      metadata: { deviceId: payload.dev, email: user.email, name: user.name },
      ...(isUserId(payload.dev) && { deviceId: payload.dev }),
      ...(typeof payload.exp === 'number' && { expiresAt: this.#endOf(payload.exp) }),
      ...(typeof payload.iat === 'number' && { issuedAt: payload.iat * 1000 }),
    }
  }

  /** The validator of `@korajs/auth` allows the same leeway as our own. */
  #endOf(exp: number): number {
    return endOfToken(exp, KORA_LEEWAY_SECONDS * 1000, this.#runtime.now()) * 1000
  }

  async #validate(token: string): Promise<KoraTokenPayload | null> {
    const { tokenValidator } = this.#options
    return typeof tokenValidator.validateTokenWithRevocation === 'function'
      ? tokenValidator.validateTokenWithRevocation(token)
      : (tokenValidator.validateToken?.(token) ?? null)
  }
}

function requireFunctions(options: KoraAuthProviderOptions): void {
  requireFunction(options, 'tokenValidator.validateToken', 'tokenValidator.validateTokenWithRevocation')
  requireFunction(options, 'userLookup.findById')
  if (options.deviceTracker) requireFunction(options, 'deviceTracker.touchDevice')
  // One that was not found must not be taken for left out: everybody would see everything.
  if (options.resolveScopes !== undefined) requireFunction(options, 'resolveScopes')
}

function requireScopes(scopes: GivenScopes | undefined): GivenScopes {
  if (scopes) return scopes
  throw new TypeError('resolveScopes must return an object of collections.')
}
