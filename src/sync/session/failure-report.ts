import { LOG_EVENTS, type LogEvent, type LogFields } from '../../core/logger.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { SyncMetrics } from '../sync-metrics.ts'
import type { SyncStats } from '../sync-stats.ts'

/** The reason for which the server ends a session. */
export interface SessionFailure {
  readonly code: ConnectionErrorCode
  readonly detail?: string | undefined
}

/** The session that ends. */
interface FailedSession {
  readonly remoteAddress: string | undefined
  log(event: LogEvent, fields: LogFields): void
}

/** Where failures are counted. */
interface FailureCounts {
  readonly stats: Pick<SyncStats, 'errorCount'>
  readonly metrics: Pick<SyncMetrics, 'sessionFailed'>
}

/** Log events for failures that only the client can mend, and which are therefore no warning. */
const EVENTS: { readonly [Code in ConnectionErrorCode]?: LogEvent } = {
  AUTH_FAILED: LOG_EVENTS.authFailed,
  SCHEMA_MISMATCH: LOG_EVENTS.schemaRefused,
}

/** Logs and counts that the server ends a session, whether or not its client is told. */
export function reportFailure(
  session: FailedSession,
  { code, detail }: SessionFailure,
  { stats, metrics }: FailureCounts,
): void {
  const { remoteAddress } = session
  session.log(EVENTS[code] ?? LOG_EVENTS.sessionFailed, { code, detail, remoteAddress })
  stats.errorCount++
  metrics.sessionFailed(code)
}
