import type { Refusal } from './refusal.ts'

/**
 * Every code of an error that kora-server throws, with what it means and what to do. Types,
 * messages and the reference page of the documentation follow from this table.
 */
export const ERROR_CODES = {
  UNKNOWN_COLLECTION: {
    meaning: 'The schema has no collection of this name.',
    remedy: 'Use one of the names that the message lists.',
  },
  UNKNOWN_FIELD: {
    meaning: 'The collection has no field of this name.',
    remedy: 'Use one of the names that the message lists.',
  },
  INVALID_QUERY: {
    meaning: 'A value of a query (limit, offset, filter) cannot be used.',
    remedy: 'The message names the value and what is accepted.',
  },
  NO_SCHEMA: {
    meaning: 'Collections can be queried only after the store knows the schema.',
    remedy: 'Call store.setSchema(schema), or name a schema file in the configuration.',
  },
  RESOLVER_MISSING: {
    meaning:
      'A custom resolver decides what a record becomes, and this process does not have it: the database keeps only its hash.',
    remedy:
      "Name the app's present schema with --schema or --config. A server of another schema version is to be replaced; clients send again.",
  },
  SCHEMA_INVALID: {
    meaning: 'The schema breaks a rule of the schema language.',
    remedy: 'The message lists every problem with its path.',
  },
  SCHEMA_VALIDATION: {
    meaning: 'defineSchema was given a definition that breaks a rule.',
    remedy: 'The message names the rule and the place.',
  },
  SCHEMA_CHANGE_REFUSED: {
    meaning:
      'The new schema would lose data that the store holds, or that a backup holds which is to be restored.',
    remedy:
      'The message names the change and the form of it that loses nothing. A backup is also restored into a fresh store without a schema.',
  },
  STORE_CLOSED: { meaning: 'The store was used after close().', remedy: 'Open a new store.' },
  STORE_UNAVAILABLE: {
    meaning: 'The database does not answer, is full, locked, or read-only.',
    remedy: 'Look at the cause; the server goes on by itself once the database does.',
  },
  STORE_OPEN_FAILED: {
    meaning: 'The database could not be opened.',
    remedy: 'The message names the file or the server and the reason.',
  },
  STORE_NEWER: {
    meaning: 'The store was written by a newer release of kora-server.',
    remedy:
      'Start the release that wrote it, or a later one. To go back, restore the backup from before the upgrade into a fresh store.',
  },
  STORE_CORRUPT: {
    meaning: 'The store holds something that cannot be read back.',
    remedy:
      'Run `kora-server check --deep`, which names what is damaged: `kora-server migrate --rebuild` writes tables anew. Restore a backup for anything else, and when the store cannot be opened.',
  },
  BLOB_REFUSED: {
    meaning: 'A chunk of a blob is larger than allowed, or not what its hash says.',
    remedy: 'Make smaller chunks, or hash exactly the bytes that are sent.',
  },
  DRIVER_MISSING: {
    meaning: 'A package that the configuration needs is not installed, or does not load on this Node.',
    remedy: 'Run the command that the message gives.',
  },
  BACKUP_INVALID: {
    meaning: 'The backup is damaged, incomplete, or of an unknown format. Nothing was restored.',
    remedy: 'Use another backup; `kora-server backup --verify` checks one.',
  },
  BACKUP_REFUSED: {
    meaning:
      'The backup holds operations that the server takes from no device: their clock is ahead of this machine, or the id of their node holds a control character. Nothing was restored.',
    remedy:
      'Check the clock of this machine. If it is right, use an earlier backup, or restore this one as it is (`--as-is`).',
  },
  BACKUP_INTERRUPTED: {
    meaning:
      'The log was replaced while a backup of it was made, or compacted by another process that did not wait.',
    remedy: 'Make the backup again; what was written of this one cannot be restored.',
  },
  BACKUP_NOT_WRITTEN: {
    meaning:
      'A folder for a backup, or for the copy of one that is piped in, is not there, cannot be written, or is full; or whoever reads a backup from stdout has ended too early.',
    remedy:
      'The message names the folder and what to correct. Nothing of a failed backup is left in it; what came out of stdout cannot be restored.',
  },
  OUTPUT_NOT_WRITTEN: {
    meaning:
      'What a command prints could not be written to where its stdout leads, or the disk failed under the files of `kora-server init`.',
    remedy:
      'The message names the reason; for ENOSPC, free some space. What was printed is not whole; of such files none is left.',
  },
  BUCKET_FAILED: {
    meaning: 'The object storage for backups does not answer, has no such bucket, or denies access.',
    remedy: 'The message names the bucket and what to correct. Nothing of a failed backup is left.',
  },
  STORE_NOT_EMPTY: {
    meaning: 'A backup was to be restored into a store that holds operations.',
    remedy: 'Add --merge or --replace, or restore into an empty store.',
  },
  CONFIG_INVALID: {
    meaning: 'The configuration has problems.',
    remedy: 'The message lists each with its path.',
  },
  CONFIG_NOT_FOUND: {
    meaning: 'The configuration file does not exist.',
    remedy: 'Check the path given to --config.',
  },
  INVALID_ARGUMENT: {
    meaning: 'An argument or flag of a command, or an argument of a function, cannot be used.',
    remedy: 'The message says what can; see --help of the command.',
  },
  ALREADY_RUNNING: { meaning: 'start() was called on a running server.', remedy: 'Call stop() first.' },
  PORT_IN_USE: {
    meaning: 'Another process listens on the port.',
    remedy: 'Stop it, or choose another port; the message of the daemon names its option.',
  },
  LISTEN_FAILED: {
    meaning: 'The server cannot listen on the address.',
    remedy: 'Check host and port; ports below 1024 need rights.',
  },
  INVALID_TIMESTAMP_FIELDS: {
    meaning: 'A timestamp is outside the range of a hybrid logical clock.',
    remedy: 'wallTime is an integer from 0 to 10^15 - 1, logical one from 0 to 99999.',
  },
  CAUSAL_CYCLE: {
    meaning: 'Operations depend on each other in a circle.',
    remedy: 'Report it: an honest client cannot produce this.',
  },
  PROTOCOL_ERROR: {
    meaning: 'A frame is not a valid message of the sync protocol.',
    remedy: 'The message names the property and what is expected.',
  },
  MESSAGE_TOO_LARGE: {
    meaning: 'A frame is larger than the server reads.',
    remedy: 'Send smaller batches, or raise limits.maxMessageBytes.',
  },
  AUTH_CONFIG: {
    meaning: 'The authentication settings cannot work: a key is missing or does not parse.',
    remedy: 'The message names the key.',
  },
  AUTH_CONTEXT_INVALID: {
    meaning: 'What an auth provider of the application returned is no `AuthContext`; the client was refused.',
    remedy: 'The message names the property. Return null to refuse a client.',
  },
  MUTATION_REFUSED: {
    meaning: 'A write of the application (`kora.apply`) was refused; nothing was changed.',
    remedy: 'The refusal in the error names the reason.',
  },
  TLS_INVALID: {
    meaning: 'The certificate and the key cannot be used for TLS.',
    remedy: 'Check that tls.certFile and tls.keyFile are PEM and belong together.',
  },
  SERVER_STOPPING: { meaning: 'The server is shutting down.', remedy: 'Connect again shortly.' },
} as const satisfies Record<string, { meaning: string; remedy: string }>

export type ErrorCode = keyof typeof ERROR_CODES

/** The root of every error that kora-server throws on purpose; `code` is stable. */
export class KoraServerError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** Signals an invalid schema, or an invalid use of one. */
export class SchemaError extends KoraServerError {}

/** The store cannot do what it was asked to. */
export class StoreError extends KoraServerError {}

/** The store has no room for everything that it was asked at once; it may have room for less. */
export class StoreCapacityError extends StoreError {}

/** A message does not follow the sync protocol. */
export class ProtocolError extends KoraServerError {}

/** The configuration or the command line is invalid. */
export class ConfigError extends KoraServerError {}

/** The authentication settings, or the application's code for it, are wrong. A refused token is not an error. */
export class AuthError extends KoraServerError {}

/** A write of the application was refused. */
export class MutationError extends KoraServerError {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    super('MUTATION_REFUSED', refusal.message)
    this.refusal = refusal
  }
}

/** A compile-time proof that a switch covers its union. */
export function assertNever(value: never): never {
  throw new Error(`Unexpected value: ${JSON.stringify(value)}`)
}
