import type { Logger } from '../core/logger.ts'
import { LOG_EVENTS, logEvent } from '../core/logger.ts'
import { checkContext } from './checked-context.ts'
import { explainToken } from './explaining-provider.ts'
import type { AuthProvider, CheckedAuthContext } from './provider.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { isFailure, isOfKeys } from './token-verdict.ts'
import { callForVerdict } from './user-callback.ts'

/**
 * Who a token is of. `'unavailable'`: the keys to judge it by are not there now. `'failed'`: the application's code
 * threw, which may mean either, or gave what cannot be enforced.
 */
export type ProviderAnswer = CheckedAuthContext | 'refused' | 'unavailable' | 'failed'

/**
 * Asks a provider, which may be the application's: it lets in only those for whom it returns a context that can be
 * enforced. A value that is missing in a scope would otherwise not be asked for, and open the collection. Why a token is
 * refused is logged here, whichever provider it is.
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
