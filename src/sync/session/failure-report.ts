import { LOG_EVENTS, type LogEvent } from '../../core/logger.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { SyncHubContext } from '../hub/hub-context.ts'
import type { Session } from './session.ts'

/** Why the server ends a session. */
export interface SessionFailure {
  readonly code: ConnectionErrorCode
  readonly detail?: string | undefined
}

/** Events of failures that only the client can mend, which are no warning. */
const EVENTS: { readonly [Code in ConnectionErrorCode]?: LogEvent } = {
  AUTH_FAILED: LOG_EVENTS.authFailed,
  SCHEMA_MISMATCH: LOG_EVENTS.schemaRefused,
}

/** Makes known, in the log and in the counts, that the server ends a session, whether or not its client is told. */
export function reportFailure(
  session: Pick<Session, 'log' | 'remoteAddress'>,
  { code, detail }: SessionFailure,
  { stats, metrics }: Pick<SyncHubContext, 'stats' | 'metrics'>,
): void {
  const { remoteAddress } = session
  session.log(EVENTS[code] ?? LOG_EVENTS.sessionFailed, { code, detail, remoteAddress })
  stats.errorCount++
  metrics.sessionFailed(code)
}
