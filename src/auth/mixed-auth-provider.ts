import { ConfigError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import type { ScopeMap } from '../core/scope.ts'
import { systemRuntime } from '../core/system-runtime.ts'
import { ExplainingProvider, explainToken, grantKindsBy } from './explaining-provider.ts'
import type { AuthContext, AuthProvider, GivenScopes } from './provider.ts'
import { requireFunction } from './require-function.ts'
import { type GrantKinds, normalizeScopes } from './scope-templates.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { isFailure } from './token-verdict.ts'
import { callForVerdict } from './user-callback.ts'

export interface MixedAuthProviderOptions {
  /** Decides about clients that send a token. */
  primary: AuthProvider
  /** What clients without a token see and write; a collection that is not listed is hidden. */
  anonymousScopes?: GivenScopes | undefined
  /** Prefix of the generated user ids. Default `'anon'`. */
  anonymousPrefix?: string | undefined
  /**
   * The treatment of a token that `primary` refuses; while `primary` fails, tokens are refused. Default
   * `'anonymous'`.
   */
  invalidToken?: 'anonymous' | 'reject' | undefined
  /** Logs errors that `primary` throws. Absent: `authenticate` throws them, and the server logs them. */
  logger?: Logger | undefined
  runtime?: Pick<Runtime, 'uuid'> | undefined
}

/** Serves clients with a token and, within a scope of their own, those without one. */
export class MixedAuthProvider extends ExplainingProvider {
  readonly #primary: AuthProvider
  readonly #anonymousScopes: ScopeMap
  readonly #anonymousPrefix: string
  readonly #invalidToken: 'anonymous' | 'reject'
  readonly #logger: Logger | undefined
  readonly #runtime: Pick<Runtime, 'uuid'>

  /** @throws ConfigError `CONFIG_INVALID` without a `primary` provider, or for an `invalidToken` that is neither of the two */
  constructor(options: MixedAuthProviderOptions) {
    super()
    requireFunction(options, 'primary.authenticate')
    const { primary, anonymousScopes = {}, anonymousPrefix = 'anon' } = options
    const { invalidToken = 'anonymous', logger, runtime = systemRuntime() } = options
    if (invalidToken !== 'anonymous' && invalidToken !== 'reject') {
      const problem = `expected 'anonymous' or 'reject', got ${JSON.stringify(invalidToken)}`
      throw new ConfigError('CONFIG_INVALID', `invalidToken: ${problem}`)
    }
    this.#primary = primary
    // An invalid scope map grants nothing, rather than everything.
    this.#anonymousScopes = normalizeScopes(anonymousScopes) ?? {}
    this.#anonymousPrefix = anonymousPrefix
    this.#invalidToken = invalidToken
    this.#logger = logger
    this.#runtime = runtime
  }

  override get grantKinds(): GrantKinds {
    return grantKindsBy(this.#primary)
  }

  async explain(token: string): Promise<AuthVerdict> {
    if (!token) return { isAccepted: true, context: this.#anonymous(), claims: {} }
    const call = { name: 'primary.authenticate', token, logger: this.#logger }
    const verdict = await callForVerdict(() => explainToken(this.#primary, token), call)
    // A failure proves nothing against the token. Its owner, served as an anonymous user, would lose what was
    // written offline.
    if (verdict.isAccepted || isFailure(verdict) || this.#invalidToken === 'reject') return verdict
    return { isAccepted: true, context: this.#anonymous(), claims: {}, degradedBy: verdict }
  }

  #anonymous(): AuthContext {
    return {
      userId: `${this.#anonymousPrefix}-${this.#runtime.uuid()}`,
      scopes: this.#anonymousScopes,
      isAnonymous: true,
    }
  }
}
