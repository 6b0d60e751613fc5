import { LOG_EVENTS } from '../core/log-events.ts'
import type { Logger } from '../core/logger.ts'
import { logEvent } from '../core/logger.ts'
import { checkContext } from './checked-context.ts'
import { explainToken } from './explaining-provider.ts'
import type { AuthProvider, CheckedAuthContext } from './provider.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { isFailure, isOfKeys } from './token-verdict.ts'
import { callForVerdict } from './user-callback.ts'

/**
 * The user that a token belongs to, or why there is none. `'unavailable'`: the keys to judge it by are missing just
 * now. `'failed'`: the application's code threw, which may mean anything, or returned a context that cannot be
 * enforced.
 */
export type ProviderAnswer = CheckedAuthContext | 'refused' | 'unavailable' | 'failed'

/**
 * Asks a provider, which may be the application's, and lets a client in only with a context that can be enforced: a
 * value missing from a scope would otherwise not be compared, and open the collection. The reason for a refusal is
 * logged here, for every provider.
 */
export async function askProvider(
  provider: AuthProvider,
  token: string,
  logger: Logger,
): Promise<ProviderAnswer> {
  let answer: ProviderAnswer = 'failed'
  const explain = async (): Promise<AuthVerdict> => {
    const verdict = await explainToken(provider, token)
    answer = answerOf(verdict)
    return verdict
  }
  const verdict = await callForVerdict(explain, { name: 'authenticate', token, logger })
  const refusal = verdict.isAccepted ? verdict.degradedBy : verdict
  if (refusal !== undefined) {
    logEvent(logger, LOG_EVENTS.tokenRefused, { reason: refusal.reason, detail: refusal.message })
  }
  return answer
}

function answerOf(verdict: AuthVerdict): ProviderAnswer {
  if (!verdict.isAccepted) {
    if (!isFailure(verdict)) return 'refused'
    return isOfKeys(verdict) ? 'unavailable' : 'failed'
  }
  return checkContext(verdict.context) ?? 'refused'
}
