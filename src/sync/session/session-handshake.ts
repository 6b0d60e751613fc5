import { hasEnded } from '../../auth/token-end.ts'
import { childLogger } from '../../core/logger.ts'
import { endSpan, startSpan } from '../../core/tracing.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { HandshakeMessage, SyncMessage } from '../../protocol/messages.ts'
import { type AcceptedHandshake, acceptHandshake, type HandshakeResult } from '../handshake/handshake.ts'
import type { SyncHubContext } from '../hub/hub-context.ts'
import type { SessionLog } from '../session-log.ts'
import type { SessionState } from '../session-state.ts'
import { reportFailure } from './failure-report.ts'

/** The session whose client has sent a handshake. */
export interface HandshakingSession extends SessionLog {
  readonly id: string
  readonly state: SessionState
  readonly remoteAddress: string | undefined
  /** True where the client does not return by itself after an `error` message. */
  readonly errorsAreFinal: boolean
  send(message: SyncMessage): void
  nextMessageId(): string
  accept(result: AcceptedHandshake): void
  /** Ends the session: its client is told why. */
  fail(code: ConnectionErrorCode): void
  /** Ends the session without an `error` message. */
  close(code: ConnectionErrorCode): void
}

/** Answers a handshake: the session accepts its client, or tells it why not and ends. */
export async function answerHandshake(
  session: HandshakingSession,
  message: HandshakeMessage,
  context: SyncHubContext,
): Promise<void> {
  const span = startSpan('kora.handshake')
  let result: HandshakeResult
  try {
    const { id: sessionId, remoteAddress } = session
    result = await acceptHandshake(
      message,
      context,
      childLogger(context.logger, { sessionId, remoteAddress }),
    )
  } catch (error) {
    endSpan(span, error)
    throw error
  }
  span?.setAttribute('kora.accepted', result.accepted)
  endSpan(span)
  if (session.state === 'closed') return
  if (!result.accepted) {
    refuse(session, result, context)
    return
  }
  // The token may have expired while the store was asked. A client that returns with a fresh one is let in.
  if (hasEnded(result.identity.auth, context.runtime.now())) {
    session.close('TOKEN_EXPIRED')
    return
  }
  // Nothing may be awaited between the two, or another session of the same identity would not be counted.
  const overLimit = context.refuseIdentity(result.identity)
  if (overLimit === null) session.accept(result)
  else session.fail(overLimit)
}

function refuse(
  session: HandshakingSession,
  result: HandshakeResult & { readonly accepted: false },
  context: SyncHubContext,
): void {
  if (result.error === 'SCHEMA_MISMATCH') {
    reportFailure(session, { code: result.error, detail: result.response.rejectReason }, context)
    session.send({ ...result.response, messageId: session.nextMessageId() })
    session.close(result.error)
    return
  }
  // Libraries throw on bad tokens, too. A client that returns in any case is told, so that its app signs in again.
  // One that would stay away may have a good token, so its session ends as it does where the token cannot be
  // judged.
  if (result.mayPass !== true || !session.errorsAreFinal) {
    session.fail(result.error)
    return
  }
  reportFailure(session, { code: result.error }, context)
  session.close('AUTH_UNAVAILABLE')
}
