/**
 * Reasons for ending a connection: the code of the `error` message that the client is sent first (if any), the
 * WebSocket close code, the meaning, and what an operator should do. Kora clients treat all close codes alike and
 * reconnect; the codes are for people and tools.
 */
export const CONNECTION_ERRORS = {
  AUTH_FAILED: {
    closeCode: 1000,
    retriable: false,
    message: 'Authentication failed',
    reason: 'authentication failed', // in the words of other servers of this protocol
    meaning: "The token is missing, invalid, or of an unknown user; or the app's own code failed over it.",
    remedy:
      '`kora-server token inspect <jwt>` says how the server takes a token; what the app has thrown stands in the log.',
  },
  AUTH_UNAVAILABLE: {
    closeCode: 1013,
    retriable: true,
    message: 'The token cannot be checked right now; come back later',
    meaning:
      'The JWKS could not be fetched yet, or it has not been fetched since a token with an unknown key came. Nothing is ' +
      'said against the token.',
    remedy: 'The `reason` of `token refused` in the log says which; clients come back by themselves.',
  },
  TOKEN_EXPIRED: {
    closeCode: 4003,
    retriable: true,
    message: 'The token has expired',
    meaning: 'The session outlived its token; the client returns with a fresh one and resumes.',
    remedy: 'Nothing, as long as the app hands out a fresh token when it is asked for one.',
  },
  HANDSHAKE_REQUIRED: {
    closeCode: 4004,
    retriable: false,
    message: 'The first message must be a handshake',
    meaning: 'Something was sent before the handshake was accepted. It was not processed.',
    remedy: 'Report it to the author of the client.',
  },
  HANDSHAKE_TIMEOUT: {
    closeCode: 4008,
    retriable: true,
    message: 'No handshake arrived in time',
    meaning: 'The connection was opened but stayed silent.',
    remedy:
      'Look for a proxy that does not pass WebSocket messages on; limits.handshakeTimeout sets the time.',
  },
  DUPLICATE_HANDSHAKE: {
    closeCode: 4009,
    retriable: false,
    message: 'Handshake already completed',
    meaning: 'A second handshake on one connection.',
    remedy: 'Report it to the author of the client.',
  },
  PROTOCOL_ERROR: {
    closeCode: 4002,
    retriable: false,
    message: 'Not a valid message of the sync protocol',
    meaning: 'A frame could not be decoded; the message names the property.',
    remedy: 'Report it to the author of the client, or look for something between that changes frames.',
  },
  MESSAGE_TOO_LARGE: {
    closeCode: 1009,
    retriable: false,
    message: 'The message is too large',
    meaning: 'A frame is larger than limits.maxMessageBytes.',
    remedy: 'Let the client send smaller batches, or raise limits.maxMessageBytes.',
  },
  SCHEMA_MISMATCH: {
    closeCode: 1000,
    retriable: false,
    message: 'schema version mismatch',
    meaning: "The client's schema version is outside the supported range.",
    remedy: 'Update the app, or let older versions in with supportedSchemaVersions.',
  },
  RATE_LIMIT: {
    closeCode: 4014,
    retriable: true,
    message: 'Too many operations; send again later',
    meaning: 'A batch could not be slowed down within the time that a client waits.',
    remedy: 'Kora clients send again by themselves; limits.maxOpsPerMinute sets the rate.',
  },
  MAX_CONNECTIONS: {
    closeCode: 4029,
    retriable: true,
    message: 'max connections reached',
    meaning: 'maxConnections, or a limit per user or address, is reached.',
    remedy:
      'Raise the limit that the message names. Behind a proxy, set http.trustProxy, or all clients count as one address.',
  },
  SLOW_CONSUMER: {
    closeCode: 4010,
    retriable: true,
    message: 'The client reads too slowly',
    meaning: 'The send buffer stayed full, or nothing was acknowledged for too long.',
    remedy:
      'Nothing: the client comes back and goes on where it was. limits.maxBufferedBytes sets how much may wait.',
  },
  REVOKED: {
    closeCode: 4012,
    retriable: false,
    message: 'The session was revoked',
    meaning: 'An operator ended the sessions of this user or device.',
    remedy:
      '`kora-server revoke --list` shows what is revoked; a token that is issued from now on is accepted.',
  },
  SERVER_STOPPING: {
    closeCode: 1001,
    retriable: true,
    message: 'server shutting down',
    meaning: 'The server is going away; another one, or the next start, takes over.',
    remedy: 'Nothing: clients come back by themselves.',
  },
  INVALID_TIMESTAMP: {
    closeCode: 4013,
    retriable: false,
    message: 'The clock of the device is ahead of the server',
    meaning: 'For clients without per-operation refusals; they stamp their queue again and return.',
    remedy: 'Set the clock of the device.',
  },
  SYNC_ERROR: {
    closeCode: 1011,
    retriable: true,
    message: 'The server could not process the message',
    meaning: "An error inside the server; its log has the details, under the session's id.",
    remedy: 'Look for the session in the log, and report the error that stands there.',
  },
  STORE_UNAVAILABLE: {
    closeCode: 1013,
    retriable: true,
    message: 'The store cannot be written right now; send again later',
    meaning:
      'The database is full, locked, read-only or away, or the server lacks a resolver that the message names. Nothing of the batch was stored.',
    remedy:
      'See `GET /ready` for the reason, and `RESOLVER_MISSING` above; clients send again by themselves.',
  },
} as const satisfies Record<string, ConnectionError>

interface ConnectionError {
  readonly closeCode: number
  readonly retriable: boolean
  /** Text of the `error`, and of the close frame unless a reason is given. */
  readonly message: string
  readonly reason?: string
  readonly meaning: string
  readonly remedy: string
}

export type ConnectionErrorCode = keyof typeof CONNECTION_ERRORS

/** True where a client is served when it returns, by which time its clock may be right. */
export function isPassing(code: ConnectionErrorCode): boolean {
  return CONNECTION_ERRORS[code].retriable || code === 'INVALID_TIMESTAMP'
}

/** The close code and the reason of the close frame. */
export function closeOf(code: ConnectionErrorCode): { readonly closeCode: number; readonly reason: string } {
  const { closeCode, message, reason = message }: ConnectionError = CONNECTION_ERRORS[code]
  return { closeCode, reason }
}

/** A WebSocket close reason holds at most 123 bytes of UTF-8. */
const MAX_CLOSE_REASON_BYTES = 123

/** Text that fits into a close frame: cut at a character boundary, so that it is valid UTF-8. */
export function closeReason(text: string): string {
  if (Buffer.byteLength(text) <= MAX_CLOSE_REASON_BYTES) return text
  return Buffer.from(text)
    .subarray(0, MAX_CLOSE_REASON_BYTES)
    .toString('utf8')
    .replace(/\uFFFD+$/u, '')
}
