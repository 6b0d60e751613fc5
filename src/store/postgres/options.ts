import type { ConnectionOptions } from 'node:tls'
import type { Logger } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'

export interface PostgresServerStoreOptions {
  /** `postgres://user:password@host:port/database?sslmode=…` */
  readonly connectionString: string
  /**
   * The server's own node id. Default: the one in the database, which all servers share until a restore replaces
   * the log.
   */
  readonly nodeId?: string | undefined
  /** Most connections for queries and commits. One more listens, and up to four do longer work. Default 10. */
  readonly poolSize?: number | undefined
  /** The schema that holds the tables; created if it does not exist. Default `public`. */
  readonly schema?: string | undefined
  /** TLS options of node:tls; true: verify by the system's authorities. Default: according to the URL. */
  readonly ssl?: boolean | ConnectionOptions | undefined
  /** Name shown by the database in `pg_stat_activity`. Default `kora-server`. */
  readonly applicationName?: string | undefined
  /** ms that one statement may take. Default 30000. */
  readonly statementTimeoutMs?: number | undefined
  /** ms that a statement waits for a lock held by another transaction. Default 10000. */
  readonly lockTimeoutMs?: number | undefined
  /** ms until a connection must be there. Default 5000. */
  readonly connectTimeoutMs?: number | undefined
  /** ms after which an unused connection is closed. Default 30000. */
  readonly idleTimeoutMs?: number | undefined
  /** Whether commits use named prepared statements; false for poolers that do not know them. Default true. */
  readonly preparedStatements?: boolean | undefined
  /**
   * Opens the store for reading only, even from a replica, or a database without tables. `planning`: to plan what a
   * server would write; refused where it could not. Default false.
   */
  readonly readOnly?: boolean | 'planning' | undefined
  /**
   * The schema for a later `setSchema`. A database that is not a store yet, but has a table of another application
   * with the name of one of its collections, is refused untouched.
   */
  readonly plannedSchema?: GivenSchema | null | undefined
  /** False: a database that is not a store yet is refused untouched. Default true. */
  readonly mayCreate?: boolean | undefined
  /** ms between two checks for unannounced commits. Default 1000. */
  readonly pollIntervalMs?: number | undefined
  /** Logs risks to what is stored, waits, and lost connections. Default: none. */
  readonly logger?: Logger | undefined
  /** Time, timers and randomness. Default: the system's. */
  readonly runtime?: Runtime | undefined
}
