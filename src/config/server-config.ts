import type { AuthConfig } from '../auth/auth-config.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'

/** The daemon's configuration, validated and complete: paths are absolute, durations in ms. */
export interface ServerConfig {
  readonly host: string
  /** 0: any free port */
  readonly port: number
  readonly path: string
  readonly store: StoreConfig
  readonly schema: LoadedSchema | null
  readonly schemaVersion: number
  readonly supportedSchemaVersions: { readonly min: number; readonly max: number }
  readonly auth: AuthConfig
  readonly batchSize: number
  /** 0: unlimited */
  readonly maxConnections: number
  readonly limits: LimitsConfig
  readonly http: HttpConfig
  readonly admin: AdminConfig
  readonly retention: RetentionConfig
  /** null: blobs are relayed, not stored */
  readonly blobs: { readonly driver: 'filesystem'; readonly directory: string } | null
  /** null: the server makes no backups by itself */
  readonly backup: BackupConfig | null
  readonly log: { readonly level: LogLevel; readonly format: LogFormat }
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null
  /** ms */
  readonly shutdownTimeout: number
}

export type StoreConfig =
  | { readonly driver: 'sqlite'; readonly filename: string; readonly durability: 'full' | 'normal' }
  | {
      readonly driver: 'postgres'
      readonly connectionString: string
      readonly poolSize: number
      readonly schema: string
    }
  | { readonly driver: 'memory' }

export interface LoadedSchema {
  readonly definition: SchemaDefinition
  /** Absolute path; null when the configuration holds the schema itself. */
  readonly file: string | null
}

export interface LimitsConfig {
  readonly maxOperationBytes: number
  /** 0: unlimited */
  readonly maxOpsPerMinute: number
  readonly maxMessageBytes: number
  /** 0: unlimited */
  readonly maxConnectionsPerUser: number
  /** 0: unlimited */
  readonly maxConnectionsPerAddress: number
  /** ms */
  readonly handshakeTimeout: number
  /** ms */
  readonly idleTimeout: number
  /** per connection */
  readonly maxBufferedBytes: number
  /** per server */
  readonly maxFeedBytes: number
  /** per server */
  readonly maxQueuedBytes: number
}

export interface HttpConfig {
  readonly health: boolean
  readonly metrics: boolean
  readonly dashboard: boolean
  /**
   * Status, events and backups, for operators with their tokens. Only `http: false` takes them off the public
   * listener.
   */
  readonly operations: boolean
  readonly staticDir: string | null
  /** Exact origins of browsers that may connect; null: any. */
  readonly allowedOrigins: readonly string[] | null
  /** Addresses and CIDR ranges of the proxies whose `X-Forwarded-For` is trusted. */
  readonly trustProxy: readonly string[]
}

export interface AdminConfig {
  readonly adminToken: string | null
  readonly metricsToken: string | null
  readonly backupToken: string | null
  /** A listener of its own for the operations endpoints; null: they share the public one. */
  readonly listener: { readonly host: string; readonly port: number } | null
}

export interface RetentionConfig {
  /** ms for which a superseded operation is kept; null: forever */
  readonly keepFor: number | null
  /** ms after which a deleted record is forgotten; null: never */
  readonly tombstones: number | null
  /** ms from one compaction to the next */
  readonly every: number
  /** True when the server compacts by itself. */
  readonly automatic: boolean
}

export interface BackupConfig {
  /** null: only in object storage */
  readonly directory: string | null
  /** null: only in the directory */
  readonly s3: S3Config | null
  /** ms from one backup to the next */
  readonly every: number
  /** number of backups to keep */
  readonly keep: number
}

export interface S3Config {
  readonly bucket: string
  /** Prefix of the keys; may be empty. */
  readonly prefix: string
  /** null: Amazon's */
  readonly endpoint: string | null
  /** null: that of the environment */
  readonly region: string | null
  readonly forcePathStyle: boolean
  /** null: those of the environment */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

export const LOG_FORMATS = ['auto', 'pretty', 'json'] as const
export type LogFormat = (typeof LOG_FORMATS)[number]

/** Where the value of one option came from. */
export type ConfigOrigin =
  | { readonly kind: 'flag'; readonly name: string }
  | { readonly kind: 'environment'; readonly name: string }
  /** a `.env` file beside the configuration */
  | { readonly kind: 'dotenv'; readonly name: string }
  | { readonly kind: 'file' }
  | { readonly kind: 'schema' }
  | { readonly kind: 'default' }

/** One value, as shown by `check --print-config`. */
export interface ConfigEntry {
  /** `limits.maxMessageBytes` */
  readonly path: string
  /** Secrets are masked. */
  readonly display: string
  readonly origin: ConfigOrigin
}

export interface EffectiveConfig {
  readonly values: ServerConfig
  /** Every option that has a value, in the order of the table. */
  readonly entries: readonly ConfigEntry[]
  /** Flags and variables that are set, but for options that this configuration does not have. */
  readonly unused: readonly UnusedOverride[]
  /** Settings that work, but are hardly what was meant. */
  readonly doubts: readonly ConfigDoubt[]
  /** Absolute path of the configuration file; null when there is none. */
  readonly file: string | null
}

export interface UnusedOverride {
  /** `KORA_DB` */
  readonly name: string
  /** `store.filename` */
  readonly path: string
}

export interface ConfigDoubt {
  /** An option with the variable that sets it, or a variable alone: `KORA_AUTH_SECERT`. */
  readonly subject: string
  /** Never contains a secret. */
  readonly message: string
}

/** The settings that flags can override. */
export interface ConfigFlags {
  readonly host?: string
  readonly port?: string
  readonly path?: string
  /** `sqlite`, `postgres` or `memory` */
  readonly store?: string
  /** SQLite file or PostgreSQL URL */
  readonly db?: string
  readonly schema?: string
  readonly logLevel?: string
}

export interface LoadConfigOptions {
  /** The folder where the search starts, to which paths in flags and environment are relative. */
  readonly cwd: string
  /** `--config`: replaces the search. */
  readonly configFile?: string
  readonly flags?: ConfigFlags
  /** A copy of the environment, because the variables of a `.env` are added to `process.env`. */
  readonly env?: { readonly [name: string]: string | undefined }
}
