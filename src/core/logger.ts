/** The structured log sink: pino, or anything with its methods. */
export interface Logger {
  trace(fields: LogFields, message: string): void
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  child(bindings: LogFields): Logger
}

export type LogFields = { readonly [field: string]: unknown }

/**
 * Everything the server says in its log. Messages are constant and data are fields, so that logs
 * can be searched; the operator's reference is made from this table.
 */
export const LOG_EVENTS = {
  configLoaded: {
    level: 'info',
    message: 'configuration loaded',
    fields: 'file, store, schemaVersion, auth',
  },
  serverStarted: { level: 'info', message: 'server started', fields: 'url, store, schemaVersion' },
  serverStopping: { level: 'info', message: 'server stopping', fields: 'sessions' },
  serverStopped: { level: 'info', message: 'server stopped', fields: 'durationMs' },
  drainTimedOut: {
    level: 'warn',
    message: 'connections did not drain in time and are cut',
    fields: 'timeoutMs, sessions',
  },
  stopFailed: { level: 'error', message: 'server did not stop cleanly', fields: 'err' },
  processFailed: { level: 'error', message: 'uncaught error, the process ends', fields: 'err' },
  sessionOpened: { level: 'debug', message: 'session opened', fields: 'sessionId, remoteAddress' },
  sessionAccepted: {
    level: 'debug',
    message: 'handshake accepted',
    fields: 'sessionId, nodeId, userId, watermark',
  },
  sessionClosed: { level: 'debug', message: 'session closed', fields: 'sessionId, code, reason' },
  sessionFailed: { level: 'warn', message: 'session ended by the server', fields: 'sessionId, code, detail' },
  sessionCrashed: { level: 'error', message: 'session met a programming error', fields: 'sessionId, err' },
  batchCommitted: { level: 'trace', message: 'batch committed', fields: 'operations, applied, durationMs' },
  commitFailed: { level: 'error', message: 'commit failed, nothing was stored', fields: 'operations, err' },
  operationRefused: {
    level: 'debug',
    message: 'operation refused',
    fields: 'sessionId, operationId, collection, recordId, nodeId, userId, code, detail',
  },
  operationDropped: {
    level: 'warn',
    message: 'operation refused, but the client is too old to be told',
    fields: 'sessionId, operationId, collection, recordId, nodeId, userId, code, detail',
  },
  deliveryStalled: {
    level: 'warn',
    message: 'client does not acknowledge what it was sent',
    fields: 'sessionId, nodeId, acknowledgedSequence, sentSequence',
  },
  batchMissing: {
    level: 'warn',
    message: 'a batch of the client is missing; it sends again from there when it returns',
    fields: 'sessionId, nodeId',
  },
  feedFailed: {
    level: 'error',
    message: 'reading new operations from the store failed; delivery waits',
    fields: 'err',
  },
  observerFailed: {
    level: 'error',
    message: 'who watches the commits threw an error; the sessions were served',
    fields: 'err',
  },
  requestFailed: { level: 'error', message: 'an HTTP request met a programming error', fields: 'err' },
  tlsReloaded: { level: 'info', message: 'certificate reloaded', fields: 'certFile' },
  tlsReloadFailed: {
    level: 'warn',
    message: 'the changed certificate cannot be used; the last one stays',
    fields: 'err',
  },
  transportFailed: { level: 'debug', message: 'connection failed', fields: 'sessionId, err' },
  validatorFailed: {
    level: 'error',
    message: 'validateOperation threw; the operation was refused',
    fields: 'sessionId, operationId, err',
  },
  authFailed: {
    level: 'info',
    message: 'authentication refused',
    fields: 'sessionId, code, remoteAddress',
  },
  sessionsRevoked: {
    level: 'info',
    message: 'sessions ended because their tokens were revoked',
    fields: 'kind, value, sessions',
  },
  revocationsUnread: {
    level: 'warn',
    message: 'revocations could not be read; tried again shortly',
    fields: 'err',
  },
  logReplaced: {
    level: 'warn',
    message: 'a backup was restored in the place of the log; clients are sent back to start over',
    fields: 'sessions',
  },
  backupWritten: { level: 'info', message: 'backup written', fields: 'file, operations, bytes, durationMs' },
  logCompacted: {
    level: 'info',
    message: 'log compacted',
    fields: 'records, operations, bytes, tombstones, durationMs',
  },
  compactionLeft: {
    level: 'info',
    message: 'compaction left to another server, which is at it',
    fields: '',
  },
  compactionFailed: { level: 'error', message: 'compaction failed', fields: 'err' },
  backupFailed: { level: 'error', message: 'backup failed', fields: 'target, err' },
  backupsNotRemoved: {
    level: 'warn',
    message: 'old backups could not be removed; tried again after the next one',
    fields: 'target, err',
  },
  tokenRefused: { level: 'info', message: 'token refused', fields: 'reason, detail' },
  authCallbackFailed: {
    level: 'error',
    message: "the application's authentication code failed",
    fields: 'sessionId, callback, err, problem',
  },
  jwksFetched: { level: 'debug', message: 'JWKS fetched', fields: 'url, keys' },
  jwksFetchFailed: { level: 'warn', message: 'JWKS could not be fetched', fields: 'url, reason, hasKeys' },
  presenceFailed: { level: 'error', message: 'presence met a programming error', fields: 'err' },
  blobFailed: { level: 'error', message: 'blob storage failed', fields: 'err' },
  blobsCollected: {
    level: 'info',
    message: 'blobs that no record refers to were deleted',
    fields: 'kept, deleted, deletedBytes',
  },
  blobDamaged: {
    level: 'error',
    message: 'a stored blob is not what its hash says; it was not served',
    fields: 'hash',
  },
  storeWaiting: { level: 'info', message: 'waiting for another server', fields: 'store, reason' },
  storeNotDurable: {
    level: 'warn',
    message: 'the database may lose what it has committed; see docs/postgres.md',
    fields: 'store, risk',
  },
  schemaOutrun: {
    level: 'warn',
    message: 'servers of a later schema version run; the tables are left as they are',
    fields: 'schemaVersion, runningVersion',
  },
  listenLost: {
    level: 'warn',
    message: 'announcements of other servers are not heard; the database is asked every second',
    fields: 'store, err',
  },
  listenRecovered: {
    level: 'info',
    message: 'announcements of other servers are heard again',
    fields: 'store',
  },
  storeUnavailable: { level: 'error', message: 'store unavailable', fields: 'err' },
  storeRecovered: { level: 'info', message: 'store available again', fields: 'downMs' },
} as const satisfies Record<string, LogEvent>

export interface LogEvent {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error'
  readonly message: string
  /** The fields that go with it, for the reference. */
  readonly fields: string
}

/** Writes one event of the table at its level. */
export function logEvent(logger: Logger, event: LogEvent, fields: LogFields = {}): void {
  logger[event.level](fields, event.message)
}

/** Says nothing: for tests, and for libraries that bring no logger. */
export const silentLogger: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
}
