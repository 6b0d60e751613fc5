import type { AuthProvider } from '../auth/provider.ts'
import type { ScopeSource, ScopeTemplate } from '../auth/scope-templates.ts'
import type { SIGNATURE_ALGORITHMS } from '../auth/verification-key.ts'
import type { LogFormat, LogLevel } from './server-config.ts'

/** `'500ms'`, `'10s'`, `'5m'`, `'2h'`, `'90d'`, or a number of milliseconds. */
export type DurationInput = string | number

/** The content of a configuration file. Every key is described in docs/configuration.md. */
export interface KoraConfig {
  host?: string | undefined
  port?: number | undefined
  path?: string | undefined
  store?: StoreInput | undefined
  /** File with the schema, or the schema itself. */
  schema?: string | object | undefined
  schemaVersion?: number | undefined
  supportedSchemaVersions?: { min: number; max: number } | undefined
  auth?: AuthInput | undefined
  batchSize?: number | undefined
  maxConnections?: number | undefined
  limits?: LimitsInput | undefined
  http?: HttpInput | false | undefined
  admin?: AdminInput | undefined
  retention?:
    | {
        keepFor?: DurationInput | undefined
        automatic?: boolean | undefined
        every?: DurationInput | undefined
        tombstones?: DurationInput | undefined
      }
    | undefined
  blobs?: { driver: 'filesystem'; directory: string } | false | undefined
  backup?: BackupInput | false | undefined
  log?: { level?: LogLevel | undefined; format?: LogFormat | undefined } | undefined
  tls?: { certFile: string; keyFile: string } | undefined
  shutdownTimeout?: DurationInput | undefined
}

export type StoreInput =
  | { driver?: 'sqlite'; filename?: string | undefined; durability?: 'full' | 'normal' | undefined }
  | {
      driver: 'postgres'
      /** May come from DATABASE_URL instead. */
      connectionString?: string | undefined
      poolSize?: number | undefined
      schema?: string | undefined
    }
  | { driver: 'memory' }

export type AuthInput =
  | { mode: 'none' }
  | { mode: 'jwt'; jwt?: JwtInput | undefined; scopes?: ScopeSource | undefined }
  | { mode: 'kora'; secret?: string | string[] | undefined; scopes?: ScopeSource | undefined }
  | {
      mode: 'mixed'
      jwt?: JwtInput | undefined
      secret?: string | string[] | undefined
      scopes?: ScopeSource | undefined
      anonymous?: { scopes?: ScopeTemplate | undefined; prefix?: string | undefined } | undefined
      invalidToken?: 'reject' | 'anonymous' | undefined
    }
  | { mode: 'custom'; provider: AuthProvider | string }

/** Exactly one of `keys`, `jwksUrl` and `secret` is needed. */
export interface JwtInput {
  keys?: KeyInput[] | undefined
  jwksUrl?: string | undefined
  secret?: string | string[] | undefined
  algorithms?: SignatureAlgorithm[] | undefined
  issuer?: string | string[] | undefined
  audience?: string | string[] | undefined
  /** A number means seconds here, as in JWTs. */
  clockTolerance?: DurationInput | undefined
  userIdClaim?: string | undefined
}

export type SignatureAlgorithm = (typeof SIGNATURE_ALGORITHMS)[number]

export type KeyInput = { kid?: string | undefined; alg?: SignatureAlgorithm | undefined } & (
  | { jwk: { kty: string; [property: string]: unknown } }
  | { pem: string }
  | { file: string }
)

export interface LimitsInput {
  maxOperationBytes?: number | undefined
  maxOpsPerMinute?: number | undefined
  maxMessageBytes?: number | undefined
  maxConnectionsPerUser?: number | undefined
  maxConnectionsPerAddress?: number | undefined
  handshakeTimeout?: DurationInput | undefined
  idleTimeout?: DurationInput | undefined
  maxBufferedBytes?: number | undefined
  maxFeedBytes?: number | undefined
  maxQueuedBytes?: number | undefined
}

export interface HttpInput {
  health?: boolean | undefined
  metrics?: boolean | undefined
  dashboard?: boolean | undefined
  staticDir?: string | undefined
  allowedOrigins?: string[] | undefined
  trustProxy?: string[] | undefined
}

export interface AdminInput {
  adminToken?: string | undefined
  metricsToken?: string | undefined
  backupToken?: string | undefined
  host?: string | undefined
  port?: number | undefined
}

/** At least one of `directory` and `s3` is needed. */
export interface BackupInput {
  directory?: string | undefined
  s3?: S3Input | undefined
  every?: DurationInput | undefined
  keep?: number | undefined
}

export interface S3Input {
  bucket: string
  prefix?: string | undefined
  endpoint?: string | undefined
  region?: string | undefined
  forcePathStyle?: boolean | undefined
  accessKeyId?: string | undefined
  secretAccessKey?: string | undefined
}

/** The configuration of a Kora app, which also has keys for its development tools. */
export interface KoraAppConfig {
  server: KoraConfig
  /** Also used by the server, unless `server.schema` names another. */
  schema?: string | object | undefined
  [appKey: string]: unknown
}

/**
 * Gives a configuration file its types; the server checks every key when it loads the file.
 *
 * @example export default defineConfig({ port: 8080, schema: './schema.ts' })
 */
export function defineConfig<Config extends KoraConfig | KoraAppConfig>(config: Config): Config {
  return config
}
