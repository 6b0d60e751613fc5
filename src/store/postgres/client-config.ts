import type { Socket } from 'node:net'
import pg from 'pg'
import type { PostgresServerStoreOptions } from './options.ts'

/**
 * What `pg` is given for each connection. Its own types are in `@types/pg`, which whoever installs this package does not
 * have: the declarations of the store do without.
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

// After the database's own limit, so that it fires only when nothing comes back any more: a
// connection that is half open would otherwise be waited for until TCP gives up.
const ANSWER_MARGIN_MS = 5000

const INT8 = 20

/** Its limits are those of the options. The socket is the caller's to make. */
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
    pipeline: true, // statements that do not wait for each other share a round trip
    types: { getTypeParser: parserOf },
  }
}

/**
 * `pg` takes these modes for `verify-full` and warns, with nine lines amid a log of JSON, that a later release of it
 * will not. By that name they go on to mean it, and nothing is printed.
 */
function withFullVerification(connectionString: string): string {
  if (/[?&]uselibpqcompat=true(?=[&#]|$)/.test(connectionString)) return connectionString
  return connectionString.replace(/([?&]sslmode=)(?:prefer|require|verify-ca)(?=[&#]|$)/g, '$1verify-full')
}

/** Counters and instants fit into a number; everything else is read as `pg` does. */
function parserOf(oid: number, format?: unknown): (value: never) => unknown {
  if (oid === INT8) return Number
  return pg.types.getTypeParser(oid, format as 'text') as (value: never) => unknown
}
