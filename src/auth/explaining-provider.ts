import { checkContext } from './checked-context.ts'
import type { AuthContext, AuthProvider } from './provider.ts'
import { type GrantKinds, UNKNOWN_GRANT_KINDS } from './scope-templates.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { refuseToken } from './token-verdict.ts'

/** A provider that decides by a verdict, so that who asks can tell a token that was refused from one that was not judged. */
export abstract class ExplainingProvider implements AuthProvider {
  /** As far as they are known. */
  get grantKinds(): GrantKinds {
    return UNKNOWN_GRANT_KINDS
  }

  /** What `authenticate` decides, with the reason. */
  abstract explain(token: string): Promise<AuthVerdict>

  async authenticate(token: string): Promise<AuthContext | null> {
    const verdict = await this.explain(token)
    return verdict.isAccepted ? verdict.context : null
  }
}

/**
 * The verdict that lies in what a provider returned.
 *
 * @throws AuthError `AUTH_CONTEXT_INVALID` for what is no context
 */
export function contextToVerdict(value: unknown): AuthVerdict {
  const context = checkContext(value)
  return context === null ? refuseToken('REFUSED_BY_PROVIDER') : { isAccepted: true, context, claims: {} }
}

/**
 * The verdict of a provider about a token, with the reason where the provider tells it.
 *
 * @throws whatever the provider throws
 */
export async function explainToken(provider: AuthProvider, token: string): Promise<AuthVerdict> {
  if (isExplaining(provider)) return provider.explain(token)
  return contextToVerdict(await provider.authenticate(token))
}

/** What a provider grants all users alike, and each for itself. */
export function grantKindsBy(provider: AuthProvider): GrantKinds {
  return isExplaining(provider) ? provider.grantKinds : UNKNOWN_GRANT_KINDS
}

/** False where a class of the application decides in a way of its own, of which the verdict would know nothing. */
function isExplaining(provider: AuthProvider): provider is ExplainingProvider {
  return (
    provider instanceof ExplainingProvider &&
    provider.authenticate === ExplainingProvider.prototype.authenticate
  )
}
