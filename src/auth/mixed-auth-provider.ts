import type { Logger } from '../core/logger.ts'
import { silentLogger } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import type { ScopeMap } from '../core/scope.ts'
import { systemRuntime } from '../core/system-runtime.ts'
import type { AuthContext, AuthProvider, GivenScopes } from './provider.ts'
import { normalizeScopes } from './scope-templates.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { explainToken } from './token-verdict.ts'
import { callUserCode, checkContext } from './user-callback.ts'

export interface MixedAuthProviderOptions {
  /** Decides about clients that bring a token. */
  primary: AuthProvider
  /** What clients without a token see and write; a collection that is not listed is hidden. */
  anonymousScopes?: GivenScopes
  /** Start of the generated user ids. Default `'anon'`. */
  anonymousPrefix?: string
  /** What a token that `primary` refuses gets. Default `'anonymous'`. */
  invalidToken?: 'anonymous' | 'reject'
  /** Hears of errors that `primary` throws. */
  logger?: Logger
  runtime?: Pick<Runtime, 'uuid'>
}

/** Serves clients with a token and, in a scope of their own, those without one. */
export class MixedAuthProvider implements AuthProvider {
  readonly #primary: AuthProvider
  readonly #anonymousScopes: ScopeMap
  readonly #anonymousPrefix: string
  readonly #invalidToken: 'anonymous' | 'reject'
  readonly #logger: Logger
  readonly #runtime: Pick<Runtime, 'uuid'>

  constructor({
    primary,
    anonymousScopes = {},
    anonymousPrefix = 'anon',
    invalidToken = 'anonymous',
    logger = silentLogger,
    runtime = systemRuntime(),
  }: MixedAuthProviderOptions) {
    this.#primary = primary
    // What is no scope map shows nothing, rather than everything.
    this.#anonymousScopes = normalizeScopes(anonymousScopes) ?? {}
    this.#anonymousPrefix = anonymousPrefix
    this.#invalidToken = invalidToken
    this.#logger = logger
    this.#runtime = runtime
  }

  async authenticate(token: string): Promise<AuthContext | null> {
    if (!token) return this.#anonymous()
    const call = { name: 'primary.authenticate', token, logger: this.#logger }
    const context = await callUserCode(() => this.#primary.authenticate(token), call)
    // Undefined: it threw. That says nothing about the token, so its owner is not degraded.
    if (context === undefined) return null
    const checked = checkContext(context, 'primary.authenticate', this.#logger)
    if (checked !== null) return checked
    return this.#invalidToken === 'anonymous' ? this.#anonymous() : null
  }

  /** What `authenticate` would do, with the reason. */
  async explain(token: string): Promise<AuthVerdict> {
    if (!token) return { isAccepted: true, context: this.#anonymous(), claims: {} }
    const verdict = await explainToken(this.#primary, token)
    if (verdict.isAccepted || this.#invalidToken === 'reject') return verdict
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
