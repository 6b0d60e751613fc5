import type { Logger } from '../core/logger.ts'
import { contextToVerdict, ExplainingProvider } from './explaining-provider.ts'
import type { AuthContext } from './provider.ts'
import { requireFunction } from './require-function.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { callForVerdict } from './user-callback.ts'

export interface TokenAuthProviderOptions {
  /** Null refuses the connection. An error proves nothing against the token: the client comes back later. */
  validate(token: string): AuthContext | null | Promise<AuthContext | null>
  /** Logs errors that `validate` throws. Absent: `authenticate` throws them, and the server logs them. */
  logger?: Logger | undefined
}

/**
 * Leaves the decision to a function of the application.
 *
 * @example new TokenAuthProvider({ validate: async (token) => ({ userId: await userIdOf(token) }) })
 */
export class TokenAuthProvider extends ExplainingProvider {
  readonly #options: TokenAuthProviderOptions

  /** @throws ConfigError `CONFIG_INVALID` without `validate` */
  constructor(options: TokenAuthProviderOptions) {
    super()
    requireFunction(options, 'validate')
    this.#options = options
  }

  explain(token: string): Promise<AuthVerdict> {
    return callForVerdict(async () => contextToVerdict(await this.#options.validate(token)), {
      name: 'validate',
      token,
      logger: this.#options.logger,
    })
  }
}
