import type { ConnectionOptions } from 'node:tls'
import type { Logger } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'

export interface PostgresServerStoreOptions {
  /** `postgres://user:password@host:port/database?sslmode=…` */
  readonly connectionString: string
  /** The server's own node id. Default: the one in the database, which all servers share until a restore replaces the log. */
  readonly nodeId?: string | undefined
  /** Most connections for queries and commits; one more listens, and up to four do what takes longer. Default 10. */
  readonly poolSize?: number | undefined
  /** The schema that holds the tables; created when it does not exist. Default `public`. */
  readonly schema?: string | undefined
  /** TLS as node:tls takes it; true: verify by the system's authorities. Default: as the URL says. */
  readonly ssl?: boolean | ConnectionOptions | undefined
  /** As the database shows it in `pg_stat_activity`. Default `kora-server`. */
  readonly applicationName?: string | undefined
  /** ms that one statement may take. Default 30000. */
  readonly statementTimeoutMs?: number | undefined
  /** ms that one statement waits for a lock that somebody else holds. Default 10000. */
  readonly lockTimeoutMs?: number | undefined
  /** ms until a connection must be there. Default 5000. */
  readonly connectTimeoutMs?: number | undefined
  /** ms after which an unused connection is closed. Default 30000. */
  readonly idleTimeoutMs?: number | undefined
  /** Whether commits use named prepared statements; false for poolers that do not know them. Default true. */
  readonly preparedStatements?: boolean | undefined
  /**
   * Only reads, also from a replica, and from a database that has no tables yet. `planning`: as a
   * server would, which is to write there; refused where that could not. Default false.
   */
  readonly readOnly?: boolean | 'planning' | undefined
  /**
   * What `setSchema` is to be given. A database that holds no store yet, and a table of somebody else by the name of
   * one of its collections, is refused untouched.
   */
  readonly plannedSchema?: GivenSchema | null | undefined
  /** False: a database that holds no store yet is refused untouched. Default true. */
  readonly mayCreate?: boolean | undefined
  /** ms between two looks for commits that were not announced. Default 1000. */
  readonly pollIntervalMs?: number | undefined
  /** Hears of risks to what is stored, of waits and of a lost connection. Default: nobody does. */
  readonly logger?: Logger | undefined
  /** Time, timers and randomness. Default: the system's. */
  readonly runtime?: Runtime | undefined
}
