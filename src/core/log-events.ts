/** One event: its level, its message, the fields that go with it, and what an operator should do about it. */
export interface LogEvent {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error'
  readonly message: string
  /** The fields that the event may carry. */
  readonly fields: readonly string[]
  /** What an operator should do. Every warning and error has one. */
  readonly advice?: string
}

/** The fields of an event, as a call may give them. */
export type FieldsOf<Event extends LogEvent> = { readonly [Field in Event['fields'][number]]?: unknown }

/**
 * Every event that the server logs. Messages are constant and data are fields, so that logs can be searched.
 * docs/logs.md is made from this table.
 */
export const LOG_EVENTS = {
  configLoaded: {
    level: 'info',
    message: 'configuration loaded',
    fields: ['file', 'store', 'schemaVersion', 'auth', 'version'],
  },
  configDoubtful: {
    level: 'warn',
    message: 'a setting looks like a mistake',
    fields: ['subject', 'detail'],
    advice:
      '`subject` names the option, the variable or the file, `detail` what is odd about it. Correct it and start again.',
  },
  fieldNeededSince: {
    level: 'warn',
    message: 'a field is required now and has no default; records may have been stored without it',
    fields: ['collection', 'field'],
    advice:
      'Devices that sync for the first time stop at such a record. Give the field a default, or make it optional: [a changed schema](schema.md#a-changed-schema).',
  },
  writtenEarly: {
    level: 'warn',
    message: 'operations of the log do not fit a field that is new in the schema',
    fields: ['collection', 'field', 'expectation', 'operations'],
    advice:
      'Devices that sync for the first time stop at such an operation. Choose another name for the field, or a form that they fit: [a changed schema](schema.md#a-changed-schema).',
  },
  serverStarted: {
    level: 'info',
    message: 'server started',
    fields: ['url', 'schemaVersion'],
  },
  serverStopping: {
    level: 'info',
    message: 'server stopping',
    fields: ['sessions'],
  },
  serverStopped: {
    level: 'info',
    message: 'server stopped',
    fields: ['durationMs'],
  },
  drainTimedOut: {
    level: 'warn',
    message: 'connections did not drain in time and are cut',
    fields: ['timeoutMs', 'sessions'],
    advice:
      'Nothing is lost: their clients send again. Raise `shutdownTimeout` (of the library, `stopTimeoutMs`) if it happens often.',
  },
  writesTimedOut: {
    level: 'warn',
    message: 'the store did not take the last writes in time',
    fields: ['timeoutMs'],
    advice:
      'Clients send theirs again. What the application has written through `kora` was not confirmed: write it again. Find out why the store does not answer.',
  },
  stopFailed: {
    level: 'error',
    message: 'server did not stop cleanly',
    fields: ['err'],
    advice: 'What was acknowledged is stored. Report what `err` says.',
  },
  processFailed: {
    level: 'error',
    message: 'uncaught error, the process ends',
    fields: ['err'],
    advice:
      'Let whatever supervises the process start it again, and report `err`. What was acknowledged is stored.',
  },
  sessionOpened: {
    level: 'debug',
    message: 'session opened',
    fields: ['sessionId', 'remoteAddress'],
  },
  sessionAccepted: {
    level: 'debug',
    message: 'handshake accepted',
    fields: ['sessionId', 'nodeId', 'userId', 'watermark'],
  },
  sessionClosed: {
    level: 'debug',
    message: 'session closed',
    fields: ['sessionId', 'code', 'reason'],
  },
  sessionFailed: {
    level: 'warn',
    message: 'session ended by the server',
    fields: ['sessionId', 'code', 'detail', 'remoteAddress'],
    advice:
      '`code` says why: [closed connections](troubleshooting.md#closed-connections). The client comes back by itself.',
  },
  sessionCrashed: {
    level: 'error',
    message: 'session met a programming error',
    fields: ['sessionId', 'err'],
    advice: 'Report `err`. Only this session ended, and its client comes back.',
  },
  batchCommitted: {
    level: 'trace',
    message: 'batch committed',
    fields: ['operations', 'applied', 'durationMs'],
  },
  commitFailed: {
    level: 'error',
    message: 'commit failed, nothing was stored',
    fields: ['operations', 'err'],
    advice:
      '`err` says why; while the database cannot be written, `/ready` answers 503. Clients keep their changes and send them again.',
  },
  operationRefused: {
    level: 'debug',
    message: 'operation refused',
    fields: ['sessionId', 'operationId', 'collection', 'recordId', 'nodeId', 'userId', 'code', 'detail'],
  },
  operationDropped: {
    level: 'warn',
    message: 'operation refused, but the client is too old to be told',
    fields: ['sessionId', 'operationId', 'collection', 'recordId', 'nodeId', 'userId', 'code', 'detail'],
    advice:
      'The change is on its device alone; `code` says why: [refused operations](troubleshooting.md#refused-operations). Update the app, so that it is told.',
  },
  deliveryStalled: {
    level: 'warn',
    message: 'client does not acknowledge what it was sent',
    fields: ['sessionId', 'nodeId', 'acknowledgedSequence', 'sentSequence'],
    advice:
      'Nothing: the connection is closed, and the client goes on where it stopped. If it is always the same node, its app cannot apply an operation.',
  },
  batchMissing: {
    level: 'warn',
    message: 'a batch of the client is missing; it sends again from there when it returns',
    fields: ['sessionId', 'nodeId'],
    advice: 'Nothing: a request of a polling client was lost.',
  },
  feedFailed: {
    level: 'error',
    message: 'reading new operations from the store failed; delivery waits',
    fields: ['err'],
    advice: '`err` says why. Delivery goes on by itself when the store can be read.',
  },
  observerFailed: {
    level: 'error',
    message: 'a commit observer threw an error; the sessions were served',
    fields: ['err'],
    advice: 'Report `err`. The dashboard may lack operations; no client does.',
  },
  requestFailed: {
    level: 'error',
    message: 'an HTTP request met a programming error',
    fields: ['path', 'err'],
    advice: 'Correct the route of the app that `path` names, or report `err`.',
  },
  bodiesCut: {
    level: 'warn',
    message: 'no room for more bodies of strangers, the slowest were cut',
    fields: ['bodies', 'path', 'remoteAddress'],
    advice:
      '`bodies` were cut since the last such line, this one last. If it goes on, let the proxy read bodies whole before it passes them on, or block those who send them.',
  },
  tlsReloaded: {
    level: 'info',
    message: 'certificate reloaded',
    fields: ['certFile'],
  },
  tlsReloadFailed: {
    level: 'warn',
    message: 'the changed certificate cannot be used; the last one stays',
    fields: ['err'],
    advice:
      'It is tried again shortly, as one of the files may still be old. If it stays so, check that both are PEM and belong together.',
  },
  transportThrew: {
    level: 'warn',
    message: "the application's transport threw an error; its session ended",
    fields: ['sessionId', 'err'],
    advice:
      '`err` names the method. If the socket was gone, the transport has to say so by `isConnected()` and `onClose`.',
  },
  transportFailed: {
    level: 'debug',
    message: 'connection failed',
    fields: ['sessionId', 'err'],
  },
  validatorFailed: {
    level: 'error',
    message: 'validateOperation failed; the operation was refused',
    fields: ['sessionId', 'operationId', 'err'],
    advice: 'Correct `validateOperation` of the app. The client was told, and has given the operation up.',
  },
  authFailed: {
    level: 'info',
    message: 'authentication refused',
    fields: ['sessionId', 'code', 'detail', 'remoteAddress'],
  },
  schemaRefused: {
    level: 'info',
    message: 'schema version refused',
    fields: ['sessionId', 'code', 'detail', 'remoteAddress'],
  },
  sessionsRevoked: {
    level: 'info',
    message: 'sessions ended because their tokens were revoked',
    fields: ['kind', 'value', 'sessions'],
  },
  revocationsUnread: {
    level: 'warn',
    message: 'revocations could not be read; tried again shortly',
    fields: ['err'],
    advice: 'Until it succeeds, sessions that are revoked go on. Check that the store can be read.',
  },
  logReplaced: {
    level: 'warn',
    message: 'another log has taken the place of the one before; clients are sent back to start over',
    fields: ['sessions'],
    advice:
      'Nothing, if a restore was meant (see [backups.md](backups.md#restoring)), or a replica has taken over that lacked the newest commits (see [postgres.md](postgres.md#durability)).',
  },
  backupWritten: {
    level: 'info',
    message: 'backup written',
    fields: ['file', 'operations', 'bytes', 'durationMs'],
  },
  logCompacted: {
    level: 'info',
    message: 'log compacted',
    fields: ['records', 'operations', 'bytes', 'tombstones', 'durationMs'],
  },
  compactionLeft: {
    level: 'info',
    message: 'compaction left to another server, which is at it',
    fields: [],
  },
  compactionHeld: {
    level: 'info',
    message: 'compaction waits for a backup that is being made',
    fields: [],
  },
  compactionFailed: {
    level: 'error',
    message: 'compaction failed',
    fields: ['err'],
    advice: '`err` says why. The server tries again by itself.',
  },
  backupFailed: {
    level: 'error',
    message: 'backup failed',
    fields: ['target', 'err'],
    advice: '`err` says why. It is tried again each minute.',
  },
  exportFailed: {
    level: 'error',
    message: 'an export failed; what was sent of it is not a backup',
    fields: ['err'],
    advice: '`err` says why. Export again.',
  },
  exportSilent: {
    level: 'warn',
    message: 'nothing of an export was taken for a minute, it was ended',
    fields: [],
    advice: 'Find out what holds up the program that exports, or the network. Export again.',
  },
  backupOfNothing: {
    level: 'warn',
    message: 'the log is empty; no backup was written, and the earlier ones stay',
    fields: ['target'],
    advice:
      'Check that the server has the right database. If its data is lost, [restore](backups.md#restoring) a backup.',
  },
  backupsAhead: {
    level: 'warn',
    message: 'backups bear a time that is yet to come; they count as the oldest',
    fields: ['files'],
    advice:
      'Nothing, if the clock of the server was wrong and is right again. They are removed before others.',
  },
  backupsNotRemoved: {
    level: 'warn',
    message: 'old backups could not be removed; tried again after the next one',
    fields: ['target', 'err'],
    advice: '`err` says why. They take up room until then.',
  },
  tokenRefused: {
    level: 'info',
    message: 'token refused',
    fields: ['sessionId', 'remoteAddress', 'reason', 'detail'],
  },
  authCallbackFailed: {
    level: 'error',
    message: "the application's authentication code failed",
    fields: ['sessionId', 'remoteAddress', 'callback', 'err', 'problem'],
    advice:
      'Correct the function that `callback` names. Whoever it was asked for was not let in, and comes back.',
  },
  jwksFetched: {
    level: 'debug',
    message: 'JWKS fetched',
    fields: ['url', 'keys'],
  },
  jwksFetchFailed: {
    level: 'warn',
    message: 'JWKS could not be fetched',
    fields: ['url', 'reason', 'hasKeys'],
    advice:
      'Check that the server reaches `url`. Until then tokens are judged by the keys that were fetched last (`hasKeys`), or refused.',
  },
  presenceFailed: {
    level: 'error',
    message: 'presence met a programming error',
    fields: ['err'],
    advice: 'Report `err`. Presence is told again within 20 s.',
  },
  blobFailed: {
    level: 'error',
    message: 'blob storage failed',
    fields: ['err'],
    advice: "`err` says why: see `blobs.directory`, or the app's functions for blobs.",
  },
  presenceDropped: {
    level: 'debug',
    message: 'a state of presence cannot be read; it is shown to nobody',
    fields: ['sessionId', 'problem'],
  },
  blobsCollected: {
    level: 'info',
    message: 'blobs that no record refers to were deleted',
    fields: ['kept', 'deleted', 'deletedBytes'],
  },
  blobDamaged: {
    level: 'error',
    message: 'a stored blob is not what its hash says; it was not served',
    fields: ['hash'],
    advice: 'Check the disk. Devices that have the blob are asked for it.',
  },
  storeWaiting: {
    level: 'info',
    message: 'waiting for another server',
    fields: ['store', 'reason'],
  },
  storeHeldUp: {
    level: 'warn',
    message: 'waiting for transactions of others on the database',
    fields: ['store', 'reason'],
    advice:
      'Nothing, if they end by themselves, as those of `pg_dump` do. End one that was forgotten; this lists them: `SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start`.',
  },
  storeNotDurable: {
    level: 'warn',
    message: 'the database may lose what it has committed; see docs/postgres.md',
    fields: ['store', 'risk'],
    advice: '`risk` names the setting: see [postgres.md](postgres.md#durability).',
  },
  schemaOutrun: {
    level: 'warn',
    message: 'servers of a later schema version run; the tables are left as they are',
    fields: ['schemaVersion', 'runningVersion'],
    advice:
      'Nothing, during a rolling update. To go back for good: [postgres.md](postgres.md#starting-and-changing-the-schema).',
  },
  listenLost: {
    level: 'warn',
    message: 'announcements of other servers are not heard; the database is asked every second',
    fields: ['store', 'err'],
    advice:
      'Nothing: it connects again by itself. If it stays so, see [poolers](postgres.md#connections-and-poolers).',
  },
  announcementDropped: {
    level: 'warn',
    message: 'announcements were dropped that no server sends',
    fields: ['store', 'announcements', 'topic', 'problem'],
    advice:
      '`announcements` were dropped since the last such line, this one last, and `problem` says what is wrong with it. See who else may connect to the database: [rights](postgres.md#rights).',
  },
  announcementUnsent: {
    level: 'warn',
    message: 'announcements to other servers were dropped; more came than the database takes',
    fields: ['store', 'announcements', 'topic'],
    advice:
      'What is typed (`richtext`) comes later, as an operation; files that other servers asked for (`blob-answer`) were not found. If it goes on, find out what slows the database down, or store files [centrally](presence-and-blobs.md#blobs).',
  },
  announcementFailed: {
    level: 'error',
    message: 'an announcement met a programming error',
    fields: ['store', 'announcements', 'topic', 'err'],
    advice: 'Report `err`. `announcements` of other servers were lost since the last such line.',
  },
  listenRecovered: {
    level: 'info',
    message: 'announcements of other servers are heard again',
    fields: ['store'],
  },
  storeUnavailable: {
    level: 'error',
    message: 'store unavailable',
    fields: ['err'],
    advice: '`err` says why. The server goes on by itself when the database does.',
  },
  storeRecovered: {
    level: 'info',
    message: 'store available again',
    fields: ['downMs'],
  },
} as const satisfies Record<string, LogEvent>
