/**
 * Why a connection ends: the code of the `error` message that the client is sent first (where
 * there is one), the WebSocket close code, and what it means. Kora clients treat all close codes
 * alike and reconnect; the codes are for people and tools.
 */
export const CONNECTION_ERRORS = {
  AUTH_FAILED: {
    closeCode: 1000,
    retriable: false,
    message: 'Authentication failed',
    meaning: 'The token is missing, invalid, or of an unknown user.',
  },
  TOKEN_EXPIRED: {
    closeCode: 4003,
    retriable: true,
    message: 'The token has expired',
    meaning: 'The session outlived its token; the client returns with a fresh one and resumes.',
  },
  HANDSHAKE_REQUIRED: {
    closeCode: 4004,
    retriable: false,
    message: 'The first message must be a handshake',
    meaning: 'Something was sent before the handshake was accepted. It was not processed.',
  },
  HANDSHAKE_TIMEOUT: {
    closeCode: 4008,
    retriable: true,
    message: 'No handshake arrived in time',
    meaning: 'The connection was opened but stayed silent.',
  },
  DUPLICATE_HANDSHAKE: {
    closeCode: 4009,
    retriable: false,
    message: 'Handshake already completed',
    meaning: 'A second handshake on one connection.',
  },
  PROTOCOL_ERROR: {
    closeCode: 4002,
    retriable: false,
    message: 'Not a valid message of the sync protocol',
    meaning: 'A frame could not be decoded; the message names the property.',
  },
  MESSAGE_TOO_LARGE: {
    closeCode: 1009,
    retriable: false,
    message: 'The message is too large',
    meaning: 'A frame is larger than limits.maxMessageBytes.',
  },
  SCHEMA_MISMATCH: {
    closeCode: 1000,
    retriable: false,
    message: 'schema version mismatch',
    meaning: "The client's schema version is outside the supported range.",
  },
  RATE_LIMIT: {
    closeCode: 4014,
    retriable: true,
    message: 'Too many operations; send again later',
    meaning: 'A batch could not be slowed down within the time that a client waits.',
  },
  MAX_CONNECTIONS: {
    closeCode: 4029,
    retriable: true,
    message: 'max connections reached',
    meaning: 'maxConnections, or a limit per user or address, is reached.',
  },
  SLOW_CONSUMER: {
    closeCode: 4010,
    retriable: true,
    message: 'The client reads too slowly',
    meaning: 'The send buffer stayed full, or nothing was acknowledged for too long.',
  },
  IDLE_TIMEOUT: {
    closeCode: 4011,
    retriable: true,
    message: 'The connection is idle',
    meaning: 'Pings went unanswered: the connection is dead.',
  },
  REVOKED: {
    closeCode: 4012,
    retriable: false,
    message: 'The session was revoked',
    meaning: 'An operator ended the sessions of this user or device.',
  },
  SERVER_STOPPING: {
    closeCode: 1001,
    retriable: true,
    message: 'server shutting down',
    meaning: 'The server is going away; another one, or the next start, takes over.',
  },
  INVALID_TIMESTAMP: {
    closeCode: 4013,
    retriable: false,
    message: 'The clock of the device is ahead of the server',
    meaning: 'For clients without per-operation refusals; they stamp their queue again and return.',
  },
  SYNC_ERROR: {
    closeCode: 1011,
    retriable: true,
    message: 'The server could not process the message',
    meaning: "An error inside the server; its log has the details, under the session's id.",
  },
  STORE_UNAVAILABLE: {
    closeCode: 1013,
    retriable: true,
    message: 'The store cannot be written right now; send again later',
    meaning: 'The database is full, locked, read-only or away. Nothing of the batch was stored.',
  },
} as const satisfies Record<
  string,
  { closeCode: number; retriable: boolean; message: string; meaning: string }
>

export type ConnectionErrorCode = keyof typeof CONNECTION_ERRORS

/** A WebSocket close reason holds at most 123 bytes of UTF-8. */
export const MAX_CLOSE_REASON_BYTES = 123
