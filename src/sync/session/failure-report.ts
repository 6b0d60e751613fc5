import { LOG_EVENTS } from '../../core/log-events.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { SessionLog } from '../session-log.ts'
import type { SyncMetrics } from '../sync-metrics.ts'
import type { SyncStats } from '../sync-stats.ts'

/** The reason for which the server ends a session. */
export interface SessionFailure {
  readonly code: ConnectionErrorCode
  readonly detail?: string | undefined
}

/** The session that ends. */
interface FailedSession extends SessionLog {
  readonly remoteAddress: string | undefined
}

/** Where failures are counted. */
interface FailureCounts {
  readonly stats: Pick<SyncStats, 'errorCount'>
  readonly metrics: Pick<SyncMetrics, 'sessionFailed'>
}

/** Logs and counts that the server ends a session, whether or not its client is told. */
export function reportFailure(
  session: FailedSession,
  { code, detail }: SessionFailure,
  { stats, metrics }: FailureCounts,
): void {
  const { remoteAddress } = session
  session.log(eventOf(code), { code, detail, remoteAddress })
  stats.errorCount++
  metrics.sessionFailed(code)
}

/** What only the client can mend is logged as no warning. */
function eventOf(code: ConnectionErrorCode) {
  switch (code) {
    case 'AUTH_FAILED':
      return LOG_EVENTS.authFailed
    case 'SCHEMA_MISMATCH':
      return LOG_EVENTS.schemaRefused
    default:
      return LOG_EVENTS.sessionFailed
  }
}
