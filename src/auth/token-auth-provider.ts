import type { Logger } from '../core/logger.ts'
import { silentLogger } from '../core/logger.ts'
import type { AuthContext, AuthProvider } from './provider.ts'
import { callUserCode, checkContext } from './user-callback.ts'

export interface TokenAuthProviderOptions {
  /** Null, or an error, refuses the connection. */
  validate(token: string): AuthContext | null | Promise<AuthContext | null>
  /** Hears of errors that `validate` throws. */
  logger?: Logger
}

/**
 * Leaves the decision to a function of the application.
 *
 * @example new TokenAuthProvider({ validate: async (token) => ({ userId: await userIdOf(token) }) })
 */
export class TokenAuthProvider implements AuthProvider {
  readonly #options: TokenAuthProviderOptions
  readonly #logger: Logger

  constructor(options: TokenAuthProviderOptions) {
    this.#options = options
    this.#logger = options.logger ?? silentLogger
  }

  async authenticate(token: string): Promise<AuthContext | null> {
    const call = { name: 'validate', token, logger: this.#logger }
    const context = await callUserCode(() => this.#options.validate(token), call)
    return checkContext(context, 'validate', this.#logger)
  }
}
