import { checkContext } from './checked-context.ts'
import type { AuthContext, AuthProvider } from './provider.ts'
import { type GrantKinds, UNKNOWN_GRANT_KINDS } from './scope-templates.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { refuseToken } from './token-verdict.ts'

/** A provider that returns a verdict, so that a refused token can be told from one that could not be judged. */
export abstract class ExplainingProvider implements AuthProvider {
  /** The grant kinds, as far as they are known. */
  get grantKinds(): GrantKinds {
    return UNKNOWN_GRANT_KINDS
  }

  /** Decides as `authenticate` does, and gives the reason. */
  abstract explain(token: string): Promise<AuthVerdict>

  async authenticate(token: string): Promise<AuthContext | null> {
    const verdict = await this.explain(token)
    return verdict.isAccepted ? verdict.context : null
  }
}

/**
 * Turns what a provider returned into a verdict.
 *
 * @throws AuthError `AUTH_CONTEXT_INVALID` for anything that is not a context
 */
export function contextToVerdict(value: unknown): AuthVerdict {
  const context = checkContext(value)
  return context === null ? refuseToken('REFUSED_BY_PROVIDER') : { isAccepted: true, context, claims: {} }
}

/**
 * The verdict of a provider on a token, with the reason if the provider gives one.
 *
 * @throws whatever the provider throws
 */
export async function explainToken(provider: AuthProvider, token: string): Promise<AuthVerdict> {
  if (isExplaining(provider)) return provider.explain(token)
  return contextToVerdict(await provider.authenticate(token))
}

/** The collections of which a provider grants all users the same part, and each user a part of its own. */
export function grantKindsBy(provider: AuthProvider): GrantKinds {
  return isExplaining(provider) ? provider.grantKinds : UNKNOWN_GRANT_KINDS
}

/** False where an application's subclass decides in a way of its own, which `explain` would not reflect. */
function isExplaining(provider: AuthProvider): provider is ExplainingProvider {
  return (
    provider instanceof ExplainingProvider &&
    provider.authenticate === ExplainingProvider.prototype.authenticate
  )
}
