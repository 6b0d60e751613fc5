import type { ConnectionOptions } from 'node:tls'
import type { Logger } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'

export interface PostgresServerStoreOptions {
  /** `postgres://user:password@host:port/database?sslmode=…` */
  readonly connectionString: string
  /** The server's own node id. Default: the one in the database, which all servers share until a restore replaces the log. */
  readonly nodeId?: string
  /** Most connections for queries and commits; one more listens, and up to four do what takes longer. Default 10. */
  readonly poolSize?: number
  /** The schema that holds the tables; created when it does not exist. Default `public`. */
  readonly schema?: string
  /** TLS as node:tls takes it; true: verify by the system's authorities. Default: as the URL says. */
  readonly ssl?: boolean | ConnectionOptions
  /** As the database shows it in `pg_stat_activity`. Default `kora-server`. */
  readonly applicationName?: string
  /** ms that one statement may take. Default 30000. */
  readonly statementTimeoutMs?: number
  /** ms that one statement waits for a lock that somebody else holds. Default 10000. */
  readonly lockTimeoutMs?: number
  /** ms until a connection must be there. Default 5000. */
  readonly connectTimeoutMs?: number
  /** ms after which an unused connection is closed. Default 30000. */
  readonly idleTimeoutMs?: number
  /** Whether commits use named prepared statements; false for poolers that do not know them. Default true. */
  readonly preparedStatements?: boolean
  /**
   * Only reads, also from a replica, and from a database that has no tables yet. `planning`: as a
   * server would, which is to write there; refused where that could not. Default false.
   */
  readonly readOnly?: boolean | 'planning'
  /**
   * What `setSchema` is to be given. A database that holds no store yet, and a table of somebody else by the name of
   * one of its collections, is refused untouched.
   */
  readonly plannedSchema?: SchemaDefinition
  /** ms between two looks for commits that were not announced. Default 1000. */
  readonly pollIntervalMs?: number
  /** Hears of risks to what is stored, of waits and of a lost connection. Default: nobody does. */
  readonly logger?: Logger
  /** Time, timers and randomness. Default: the system's. */
  readonly runtime?: Runtime
}
