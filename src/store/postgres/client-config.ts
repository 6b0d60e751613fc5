import type { Socket } from 'node:net'
import pg from 'pg'
import type { PostgresServerStoreOptions } from './options.ts'

/**
 * The settings that `pg` gets for each connection. Its own types are in `@types/pg`, which users of this package do
 * not have, so the declarations of the store do without them.
 */
export interface ClientConfig {
  readonly connectionString: string
  readonly ssl?: NonNullable<PostgresServerStoreOptions['ssl']>
  readonly application_name: string
  readonly connectionTimeoutMillis: number
  readonly statement_timeout: number
  readonly lock_timeout: number
  readonly query_timeout: number
  readonly keepAlive: boolean
  readonly pipeline: boolean
  readonly types: { getTypeParser(oid: number, format?: unknown): (value: never) => unknown }
  stream(): Socket
}

// Longer than the database's own limit, so that it applies only when nothing comes back any more: a half-open
// connection would otherwise be waited for until TCP gives up.
const ANSWER_MARGIN_MS = 5000

const INT8 = 20

/** The limits are those of the options. The caller adds the socket. */
export function clientConfigOf(
  options: PostgresServerStoreOptions,
  lockTimeoutMs: number,
): Omit<ClientConfig, 'stream'> {
  const statementTimeout = options.statementTimeoutMs ?? 30_000
  return {
    connectionString: withFullVerification(options.connectionString),
    ...(options.ssl === undefined ? {} : { ssl: options.ssl }),
    application_name: options.applicationName ?? 'kora-server',
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5000,
    statement_timeout: statementTimeout,
    lock_timeout: lockTimeoutMs,
    query_timeout: statementTimeout + ANSWER_MARGIN_MS,
    keepAlive: true,
    pipeline: true, // independent statements share a round trip
    types: { getTypeParser: parserOf },
  }
}

/**
 * Replaces modes that `pg` treats as `verify-full`: it warns, in nine lines amid a log of JSON, that a later
 * release will not. Under the name `verify-full` they keep that meaning, and nothing is printed.
 */
function withFullVerification(connectionString: string): string {
  if (/[?&]uselibpqcompat=true(?=[&#]|$)/.test(connectionString)) return connectionString
  return connectionString.replace(/([?&]sslmode=)(?:prefer|require|verify-ca)(?=[&#]|$)/g, '$1verify-full')
}

/** Reads counters and instants as numbers, everything else as `pg` does. */
function parserOf(oid: number, format?: unknown): (value: never) => unknown {
  if (oid === INT8) return Number
  return pg.types.getTypeParser(oid, format as 'text') as (value: never) => unknown
}
