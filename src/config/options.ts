import { isAuthProvider } from '../auth/provider.ts'
import { MIN_SECRET_CHARACTERS, SIGNATURE_ALGORITHMS } from '../auth/verification-key.ts'
import { atLeast, PORT_RANGE } from '../core/number-range.ts'
import {
  BATCH_SIZE_RANGE,
  DEFAULT_SYNC_LIMITS,
  SCHEMA_VERSION_RANGE,
  SYNC_LIMIT_RANGES,
} from '../sync/options.ts'
import type { OptionType } from './option-types.ts'
import {
  bearerToken,
  duration,
  fileOr,
  flag,
  integer,
  jwk,
  jwksUrl,
  listOf,
  oneOf,
  origins,
  path,
  postgresUrl,
  proxies,
  scopeMap,
  sqlName,
  syncPath,
  text,
  textOrList,
  webUrl,
} from './option-types.ts'
import { LOG_FORMATS, LOG_LEVELS } from './server-config.ts'

/**
 * Every option of the configuration, once. The parser, the texts of `--help`, `docs/configuration.md` and
 * `config/kora.config.schema.json` follow from this table.
 */
export type ConfigOption = ValueOption | GroupOption

interface CommonOption {
  /** Path in the file: `limits.maxMessageBytes`; `[]` marks the entries of a list. */
  readonly path: string
  /** One or two sentences for the reference page. */
  readonly help: string
  /** Applies only to these values of its group's discriminant (`store.driver`, `auth.mode`). */
  readonly when?: readonly string[]
}

export interface ValueOption extends CommonOption {
  readonly type: OptionType
  readonly default?: unknown
  /** True where its group needs it. */
  readonly isRequired?: true
  readonly env?: string
  /** As declared to commander. */
  readonly flag?: string
  /** Never printed, not even in a message about itself. */
  readonly isSecret?: true
}

export interface GroupOption extends CommonOption {
  readonly group: 'always' | 'optional' | 'list'
  /** The option inside that decides which of the others apply. */
  readonly discriminant?: string
  /** True where `false` in place of the object turns this off. */
  readonly canBeFalse?: true
}

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const MIN_TIMEOUT_MS = 1000 // with less, or with a 0 meant as "none", no client would get in or stay
const TOKEN_MODES = ['jwt', 'kora', 'mixed']

export const OPTIONS: readonly ConfigOption[] = [
  {
    path: 'host',
    type: text('an address to listen on'),
    default: '0.0.0.0',
    env: 'KORA_HOST',
    flag: '--host <address>',
    help: 'Address to listen on. `127.0.0.1` accepts only clients on this machine.',
  },
  {
    path: 'port',
    type: integer(PORT_RANGE),
    default: 4567,
    env: 'PORT',
    flag: '--port <number>',
    help: 'Port to listen on; 0 takes any free one.',
  },
  {
    path: 'path',
    type: syncPath(),
    default: '/',
    env: 'KORA_PATH',
    flag: '--path <path>',
    help: 'URL path that sync clients connect to. `/health`, `/ready` and all of `/__kora` are taken by the server itself.',
  },
  { path: 'store', group: 'always', discriminant: 'driver', help: 'Where operations and records are kept.' },
  {
    path: 'store.driver',
    type: oneOf(['sqlite', 'postgres', 'memory']),
    default: 'sqlite',
    flag: '--store <driver>',
    help: '`sqlite`, `postgres` or `memory`. The last forgets everything when the server stops.',
  },
  {
    path: 'store.filename',
    when: ['sqlite'],
    type: path(),
    default: './kora-server.db',
    env: 'KORA_DB',
    flag: '--db <file or URL>',
    help: 'SQLite file; created when it does not exist. `KORA_DB` counts only where neither `DATABASE_URL` nor `store.driver` says otherwise.',
  },
  {
    path: 'store.durability',
    when: ['sqlite'],
    type: oneOf(['full', 'normal']),
    default: 'full',
    help: '`full`: what was acknowledged survives a power cut. `normal` is faster and may lose the last commits in one.',
  },
  {
    path: 'store.connectionString',
    when: ['postgres'],
    type: postgresUrl(),
    isRequired: true,
    isSecret: true,
    env: 'DATABASE_URL',
    flag: '--db <file or URL>',
    help: 'URL of the PostgreSQL database. In its user name and password, `/ ? # @` are written as `%2F %3F %23 %40`.',
  },
  {
    path: 'store.poolSize',
    when: ['postgres'],
    type: integer({ min: 1, max: 1000 }),
    default: 10,
    help: 'Most connections for queries and commits; up to five others listen, index, back up and compact.',
  },
  {
    path: 'store.schema',
    when: ['postgres'],
    type: sqlName(),
    default: 'public',
    help: 'PostgreSQL schema that holds the tables.',
  },
  {
    path: 'schema',
    type: fileOr('what defineSchema() returns', () => true),
    env: 'KORA_SCHEMA',
    flag: '--schema <file>',
    help:
      'File with the schema of the app (default export, or an export named `schema`). With it, records can be ' +
      'queried and operations are checked; without it, clients sync all the same.',
  },
  {
    path: 'schemaVersion',
    type: integer(SCHEMA_VERSION_RANGE),
    help: 'Schema version that the server expects. Taken from the schema, else 1.',
  },
  {
    path: 'supportedSchemaVersions',
    group: 'optional',
    help: 'Schema versions of clients that are let in. Only `schemaVersion` itself when it is not given.',
  },
  {
    path: 'supportedSchemaVersions.min',
    type: integer(SCHEMA_VERSION_RANGE),
    isRequired: true,
    help: 'Oldest version, inclusive.',
  },
  {
    path: 'supportedSchemaVersions.max',
    type: integer(SCHEMA_VERSION_RANGE),
    isRequired: true,
    help: 'Newest version, inclusive.',
  },
  {
    path: 'auth',
    group: 'always',
    discriminant: 'mode',
    help: 'Who may connect, and what they may see. See [auth.md](auth.md).',
  },
  {
    path: 'auth.mode',
    type: oneOf(['none', 'jwt', 'kora', 'mixed', 'custom']),
    default: 'none',
    help:
      '`none`: everyone sees everything. `jwt`: tokens of any issuer. `kora`: tokens of `@korajs/auth`. ' +
      '`mixed`: tokens, and anonymous clients beside them. `custom`: a provider of your own.',
  },
  {
    path: 'auth.jwt',
    group: 'optional',
    when: ['jwt', 'mixed'],
    help: 'How tokens are verified. Exactly one of `keys`, `jwksUrl` and `secret` is needed.',
  },
  {
    path: 'auth.jwt.keys',
    group: 'list',
    help: 'Public keys of the issuer. Several may be valid at once, so that they can be rotated.',
  },
  { path: 'auth.jwt.keys[].kid', type: text(), help: 'Id by which tokens name the key.' },
  {
    path: 'auth.jwt.keys[].alg',
    type: oneOf(SIGNATURE_ALGORITHMS),
    help: 'The algorithm it is used with. Implied by the key when it is not given: RS256 for RSA.',
  },
  { path: 'auth.jwt.keys[].jwk', type: jwk(), isSecret: true, help: 'The key as JWK.' },
  {
    path: 'auth.jwt.keys[].pem',
    type: text('a key in PEM'),
    isSecret: true,
    help: 'The key, or its certificate, as PEM text.',
  },
  {
    path: 'auth.jwt.keys[].file',
    type: path(true),
    help: 'File with the JWK or PEM, told apart by content.',
  },
  {
    path: 'auth.jwt.jwksUrl',
    type: jwksUrl(),
    env: 'KORA_JWKS_URL',
    help:
      'Where the issuer publishes its keys. Fetched at the start, kept, fetched again for an unknown `kid`; ' +
      'the last keys serve on while the issuer is down.',
  },
  {
    path: 'auth.jwt.secret',
    type: textOrList(`text of at least ${MIN_SECRET_CHARACTERS} characters, or a list of such`),
    isSecret: true,
    env: 'KORA_AUTH_SECRET',
    help: 'Shared secret, for HMAC algorithms only. A list accepts all of its secrets.',
  },
  {
    path: 'auth.jwt.algorithms',
    type: listOf(SIGNATURE_ALGORITHMS),
    help: 'Algorithms to accept. Without it each key implies its own; a token never chooses.',
  },
  {
    path: 'auth.jwt.issuer',
    type: textOrList('text, or a list of texts'),
    help: 'Accepted values of `iss`.',
  },
  {
    path: 'auth.jwt.audience',
    type: textOrList('text, or a list of texts'),
    help: 'Accepted values of `aud`; one that fits is enough.',
  },
  {
    path: 'auth.jwt.clockTolerance',
    type: duration(5 * MINUTE_MS, { numbersAre: 'seconds' }),
    default: '0s',
    help: 'How far the clock of the issuer may be off. A number is seconds here, as JWTs count.',
  },
  {
    path: 'auth.jwt.userIdClaim',
    type: text(),
    default: 'sub',
    help: 'Claim that names the user; `user.id` reaches into an object.',
  },
  {
    path: 'auth.secret',
    when: ['kora', 'mixed'],
    type: textOrList(`text of at least ${MIN_SECRET_CHARACTERS} characters, or a list of such`),
    isSecret: true,
    env: 'KORA_AUTH_SECRET',
    help: 'The secret that `@korajs/auth` signs with. A list accepts all of its secrets.',
  },
  {
    path: 'auth.scopes',
    when: TOKEN_MODES,
    type: scopeMap({ allowsClaims: true }),
    help:
      'What the owner of a token sees and writes. A collection that is not listed, or whose claim is missing, ' +
      'is hidden. Without `scopes` every user sees everything.',
  },
  {
    path: 'auth.anonymous',
    group: 'always',
    when: ['mixed'],
    help: 'What clients without a token get.',
  },
  {
    path: 'auth.anonymous.scopes',
    type: scopeMap({ allowsClaims: false }),
    default: {},
    help: 'What they see and write; nothing unless it is listed.',
  },
  {
    path: 'auth.anonymous.prefix',
    type: text(),
    default: 'anon',
    help: 'Start of their generated user ids.',
  },
  {
    path: 'auth.invalidToken',
    when: ['mixed'],
    type: oneOf(['reject', 'anonymous']),
    default: 'reject',
    help:
      'What a client with an invalid token gets. `reject` lets it fetch a fresh one; `anonymous` serves it ' +
      'without the rights that it expects.',
  },
  {
    path: 'auth.provider',
    when: ['custom'],
    type: fileOr('an object with authenticate(token)', isAuthProvider),
    isRequired: true,
    help: 'An `AuthProvider`, or a file that exports one (default export, or an export named `provider`).',
  },
  {
    path: 'batchSize',
    type: integer(BATCH_SIZE_RANGE),
    default: 100,
    help: 'Operations per batch sent to clients.',
  },
  {
    path: 'maxConnections',
    type: integer(SYNC_LIMIT_RANGES.maxConnections),
    default: DEFAULT_SYNC_LIMITS.maxConnections,
    help: 'Most open connections; 0 is unlimited.',
  },
  {
    path: 'limits',
    group: 'always',
    help: 'What one client may use, and what all together may take of the memory.',
  },
  {
    path: 'limits.maxOperationBytes',
    type: integer(SYNC_LIMIT_RANGES.maxOperationBytes),
    default: DEFAULT_SYNC_LIMITS.maxOperationBytes,
    help: 'Largest operation, in bytes of JSON. A larger one is refused by name.',
  },
  {
    path: 'limits.maxOpsPerMinute',
    type: integer(SYNC_LIMIT_RANGES.maxOpsPerMinute),
    default: DEFAULT_SYNC_LIMITS.maxOpsPerMinute,
    help: 'Sustained rate per connection, with a burst of the same size; who is over it is slowed down. 0 is unlimited.',
  },
  {
    path: 'limits.maxMessageBytes',
    type: integer(SYNC_LIMIT_RANGES.maxMessageBytes),
    default: DEFAULT_SYNC_LIMITS.maxMessageBytes,
    help: 'Largest message, in bytes: a full batch of the largest operations should fit.',
  },
  {
    path: 'limits.maxConnectionsPerUser',
    type: integer(SYNC_LIMIT_RANGES.maxConnectionsPerUser),
    default: DEFAULT_SYNC_LIMITS.maxConnectionsPerUser,
    help: 'Most open connections of one user; 0 is unlimited.',
  },
  {
    path: 'limits.maxConnectionsPerAddress',
    type: integer(SYNC_LIMIT_RANGES.maxConnectionsPerAddress),
    default: DEFAULT_SYNC_LIMITS.maxConnectionsPerAddress,
    help: 'Most open connections from one address, or from one /64 of IPv6; 0 is unlimited. Behind a proxy, set `http.trustProxy` too.',
  },
  {
    path: 'limits.handshakeTimeout',
    type: duration(10 * MINUTE_MS, { minMs: MIN_TIMEOUT_MS }),
    default: `${DEFAULT_SYNC_LIMITS.handshakeTimeoutMs / 1000}s`,
    help:
      'Time for each step of opening a connection: for TLS; for the headers of any request on the port; and for a ' +
      'session, from the upgrade or the first POST until its handshake is accepted. The body of a POST before that ' +
      'has as long. TLS and headers have 20 s at most. If this is short, clients on slow networks do not reach the ' +
      'dashboard and the routes of the app either.',
  },
  {
    path: 'limits.idleTimeout',
    type: duration(DAY_MS, { minMs: MIN_TIMEOUT_MS }),
    default: `${DEFAULT_SYNC_LIMITS.idleTimeoutMs / 1000}s`,
    help: 'A connection without any sign of life for this long, pings included, is closed.',
  },
  {
    path: 'limits.maxBufferedBytes',
    type: integer(SYNC_LIMIT_RANGES.maxBufferedBytes),
    default: DEFAULT_SYNC_LIMITS.maxBufferedBytes,
    help:
      'Bytes that one connection may leave unread. Above that, delivery to it waits, and so does storing what it ' +
      'sends. Each message counts 1,000 bytes more, about what it takes in memory besides. A connection that stays ' +
      'above for 30 s, and takes less than a 64th of this meanwhile, is closed. Answers are sent all the same: one ' +
      'that leaves four times as much unread, or twice as much beside one long message, is closed at once. Its client ' +
      'comes back and goes on.',
  },
  {
    path: 'limits.maxFeedBytes',
    type: integer(SYNC_LIMIT_RANGES.maxFeedBytes),
    default: DEFAULT_SYNC_LIMITS.maxFeedBytes,
    help:
      'Bytes of the newest operations that are kept in memory for clients that have yet to receive them. Clients ' +
      'further behind are served from the store. Up to as much again, 4 MiB at most, stays in memory for up to a ' +
      'second longer.',
  },
  {
    path: 'limits.maxQueuedBytes',
    type: integer(SYNC_LIMIT_RANGES.maxQueuedBytes),
    default: DEFAULT_SYNC_LIMITS.maxQueuedBytes,
    help: 'Bytes of operations that may wait to be stored; above it, no more are read from connections.',
  },
  {
    path: 'http',
    group: 'always',
    canBeFalse: true,
    help:
      'What is served over HTTP beside sync; `false` serves none of it. Status, events and backups are for whoever ' +
      'has their tokens, and only `false` takes them away.',
  },
  { path: 'http.health', type: flag(), default: true, help: '`GET /health` and `GET /ready`.' },
  { path: 'http.metrics', type: flag(), default: true, help: 'Metrics for Prometheus.' },
  { path: 'http.dashboard', type: flag(), default: true, help: 'The dashboard for operators.' },
  {
    path: 'http.staticDir',
    type: path(),
    help: 'Folder with the built front end, served as a single-page app.',
  },
  {
    path: 'http.allowedOrigins',
    type: origins(),
    help: 'Origins of browsers that may connect, compared exactly. Any origin when it is not given.',
  },
  {
    path: 'http.trustProxy',
    type: proxies(),
    default: [],
    env: 'KORA_TRUST_PROXY',
    help: 'Proxies whose `X-Forwarded-For` is believed. In the variable they are separated by commas.',
  },
  {
    path: 'admin',
    group: 'always',
    help: 'Access to the endpoints for operators. Their tokens are visible ASCII characters and spaces between them, as headers carry them.',
  },
  {
    path: 'admin.adminToken',
    type: bearerToken(),
    isSecret: true,
    env: 'KORA_ADMIN_TOKEN',
    help: 'Opens the dashboard, the status and, unless they have tokens of their own, metrics and backups.',
  },
  {
    path: 'admin.metricsToken',
    type: bearerToken(),
    isSecret: true,
    env: 'KORA_METRICS_TOKEN',
    help: 'Opens the metrics only.',
  },
  {
    path: 'admin.backupToken',
    type: bearerToken(),
    isSecret: true,
    env: 'KORA_BACKUP_TOKEN',
    help: 'Opens export and import of backups only.',
  },
  {
    path: 'admin.port',
    type: integer(PORT_RANGE),
    help: 'A port of its own for these endpoints, so that they need not be on the public one.',
  },
  {
    path: 'admin.host',
    type: text('an address to listen on'),
    help: "Address for `admin.port`. `'127.0.0.1'` when it is not given.",
  },
  {
    path: 'retention',
    group: 'always',
    help: 'What compaction may drop, and when. Everything is kept by default. See [compaction.md](compaction.md).',
  },
  {
    path: 'retention.keepFor',
    type: duration(3650 * DAY_MS),
    help: 'How long an operation that later ones have superseded is kept. For ever when it is not given, except by `kora-server compact`.',
  },
  {
    path: 'retention.automatic',
    type: flag(),
    default: false,
    help: 'The running server compacts by itself: what `retention.keepFor` and `retention.tombstones` say.',
  },
  {
    path: 'retention.every',
    type: duration(365 * DAY_MS),
    default: '24h',
    help: 'Time from one compaction to the next, at least a second.',
  },
  {
    path: 'retention.tombstones',
    type: duration(3650 * DAY_MS),
    help: 'How long after its deletion has arrived a record is forgotten. Never when it is not given: a device that was offline for longer keeps the record.',
  },
  {
    path: 'blobs',
    group: 'optional',
    discriminant: 'driver',
    canBeFalse: true,
    help: 'Central storage of blobs. Without it they are passed between the clients that are connected.',
  },
  { path: 'blobs.driver', type: oneOf(['filesystem']), default: 'filesystem', help: 'Where blobs are kept.' },
  {
    path: 'blobs.directory',
    when: ['filesystem'],
    type: path(),
    isRequired: true,
    help: 'Folder for the blobs.',
  },
  {
    path: 'backup',
    group: 'optional',
    canBeFalse: true,
    help: 'The running server writes backups by itself. See [backups.md](backups.md).',
  },
  {
    path: 'backup.directory',
    type: path(),
    env: 'KORA_BACKUP_DIRECTORY',
    help: 'Folder for the backups; better on another disk than the store. Of servers that share it, mostly one writes each.',
  },
  {
    path: 'backup.s3',
    group: 'optional',
    help:
      'Object storage that speaks S3, in place of the folder or beside it. Needs the package ' +
      '`@aws-sdk/client-s3`, which the container image has.',
  },
  {
    path: 'backup.s3.bucket',
    type: text(),
    isRequired: true,
    env: 'KORA_S3_BUCKET',
    help: 'The bucket; it is not created. Of servers that share it, with one `prefix`, mostly one writes each backup.',
  },
  {
    path: 'backup.s3.prefix',
    type: text(),
    env: 'KORA_S3_PREFIX',
    help: 'What the keys begin with, such as `kora/`.',
  },
  {
    path: 'backup.s3.endpoint',
    type: webUrl(),
    env: 'KORA_S3_ENDPOINT',
    help: "URL of a server other than Amazon's: MinIO, Cloudflare R2, Backblaze B2, …",
  },
  {
    path: 'backup.s3.region',
    type: text(),
    env: 'KORA_S3_REGION',
    help: 'Region of the bucket. `AWS_REGION` when it is not given; `us-east-1` with an `endpoint`.',
  },
  {
    path: 'backup.s3.forcePathStyle',
    type: flag(),
    env: 'KORA_S3_FORCE_PATH_STYLE',
    help: 'The bucket stands in the path of URLs, not in the host name. With an `endpoint` unless it is false.',
  },
  {
    path: 'backup.s3.accessKeyId',
    type: text(),
    env: 'KORA_S3_ACCESS_KEY_ID',
    help:
      'The access key. Without one, what the AWS tools use: `AWS_ACCESS_KEY_ID` and others, `~/.aws`, the role ' +
      'of the machine.',
  },
  {
    path: 'backup.s3.secretAccessKey',
    type: text(),
    isSecret: true,
    env: 'KORA_S3_SECRET_ACCESS_KEY',
    help: 'Its secret.',
  },
  {
    path: 'backup.every',
    type: duration(365 * DAY_MS),
    default: '24h',
    help: 'Time from one backup to the next, at least a second. It may be less by up to a tenth, ten minutes at most.',
  },
  {
    path: 'backup.keep',
    type: integer(atLeast(1)),
    default: 7,
    help: 'How many stay. The oldest goes when a new one is whole.',
  },
  { path: 'log', group: 'always', help: 'What the server writes to its log, on stderr.' },
  {
    path: 'log.level',
    type: oneOf(LOG_LEVELS),
    default: 'info',
    env: 'KORA_LOG_LEVEL',
    flag: '--log-level <level>',
    help: 'The least important lines that are written.',
  },
  {
    path: 'log.format',
    type: oneOf(LOG_FORMATS),
    default: 'auto',
    help: '`auto` is `pretty` on a terminal and `json` elsewhere.',
  },
  {
    path: 'tls',
    group: 'optional',
    help: 'Serves https and wss. The files are read again when they change.',
  },
  { path: 'tls.certFile', type: path(true), isRequired: true, help: 'Certificate chain, PEM.' },
  { path: 'tls.keyFile', type: path(true), isRequired: true, help: 'Private key, PEM.' },
  {
    path: 'shutdownTimeout',
    type: duration(60 * MINUTE_MS),
    default: '10s',
    help: 'How long draining may take. Connections are closed spread over it, so that clients do not all return at once.',
  },
]

/** Every environment variable of the table. */
export const ENVIRONMENT_VARIABLES: ReadonlySet<string> = new Set(
  OPTIONS.flatMap((option) => ('env' in option && option.env !== undefined ? [option.env] : [])),
)

/** The flags of the table as declared to commander, each once, with its help text. */
export function configFlags(): readonly { readonly flag: string; readonly help: string }[] {
  const helpByFlag = new Map<string, string>()
  for (const option of OPTIONS) {
    if (!('flag' in option) || option.flag === undefined) continue
    const help = [helpByFlag.get(option.flag), flagHelp(option)].filter((part) => part !== undefined)
    helpByFlag.set(option.flag, help.join(' or '))
  }
  return [...helpByFlag].map(([flag, help]) => ({ flag, help }))
}

/** The first sentence of the help, as a line of `--help`. */
function flagHelp({ help, env }: ValueOption): string {
  const [sentence = ''] = help.replaceAll('`', '').split(/\.(?:\s|$)/)
  // "Port to listen on" becomes lower case like its neighbours, "URL of the database" stays.
  const line = sentence.replace(/^[A-Z](?![A-Z])/, (letter) => letter.toLowerCase())
  return env === undefined ? line : `${line} (env ${env})`
}
