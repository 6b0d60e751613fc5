import { isIPv6 } from 'node:net'
import type { AuthConfig, JwtConfig } from '../auth/auth-config.ts'
import { parseConfiguredKeys, parseSecrets } from '../auth/key-source.ts'
import type { ConfigProblem } from './parse-options.ts'
import type {
  AdminConfig,
  BackupConfig,
  HttpConfig,
  LimitsConfig,
  RetentionConfig,
  S3Config,
  ServerConfig,
} from './server-config.ts'

/** The parsed options, as `parseOptions` returns them as `tree` when it has found no problem. */
export interface OptionTree {
  readonly host: string
  readonly port: number
  readonly path: string
  readonly store: ServerConfig['store']
  readonly schema?: string | object
  readonly schemaVersion?: number
  readonly supportedSchemaVersions?: { readonly min: number; readonly max: number }
  readonly auth: AuthTree
  readonly batchSize: number
  readonly maxConnections: number
  readonly limits: LimitsConfig
  readonly http: Omit<HttpConfig, 'operations' | 'staticDir' | 'allowedOrigins'> &
    Partial<Pick<HttpConfig, 'staticDir' | 'allowedOrigins'>>
  readonly admin: AdminTree
  readonly retention: Omit<RetentionConfig, 'keepFor' | 'tombstones'> & Partial<RetentionConfig>
  readonly blobs?: NonNullable<ServerConfig['blobs']>
  readonly backup?: BackupTree
  readonly log: ServerConfig['log']
  readonly tls?: NonNullable<ServerConfig['tls']>
  readonly shutdownTimeout: number
}

interface AdminTree {
  readonly adminToken?: string
  readonly metricsToken?: string
  readonly backupToken?: string
  readonly host?: string
  readonly port?: number
}

interface BackupTree extends Pick<BackupConfig, 'every' | 'keep'> {
  readonly directory?: string
  readonly s3?: S3Tree
}

interface S3Tree extends Pick<S3Config, 'bucket'> {
  readonly prefix?: string
  readonly endpoint?: string
  readonly region?: string
  readonly forcePathStyle?: boolean
  readonly accessKeyId?: string
  readonly secretAccessKey?: string
}

interface AuthTree extends Partial<Omit<Extract<AuthConfig, { mode: 'mixed' }>, 'mode' | 'jwt'>> {
  readonly mode: AuthConfig['mode']
  readonly jwt?: JwtTree
  readonly provider?: Extract<AuthConfig, { mode: 'custom' }>['provider']
}

type JwtTree = Omit<JwtConfig, 'clockToleranceMs'> & { readonly clockTolerance: number }

/** True when the option at a path, or something inside it, already has a problem of its own. */
type IsMistaken = (path: string) => boolean

/**
 * Finds violations of the rules that connect several options.
 *
 * @param isMistaken such options are given, but may be missing in the tree
 */
export function findConflicts(tree: Partial<OptionTree>, isMistaken: IsMistaken): readonly ConfigProblem[] {
  const conflicts = [
    ...findAuthConflicts(tree.auth),
    ...findSchemaConflicts(tree),
    ...findAdminConflicts(tree),
    ...findBackupConflicts(tree.backup),
    ...findRetentionConflicts(tree.retention),
  ]
  return [
    ...findWrongCounts(tree.auth, isMistaken),
    // A problem inside a part is more helpful than that the part conflicts with another.
    ...conflicts.filter(({ path }) => !isMistaken(path)),
  ]
}

/** Auth options as the server uses them, except for the schema, which is loaded separately. */
export function resolveAuth({ jwt, ...auth }: AuthTree): AuthConfig {
  const resolved = jwt === undefined ? auth : { ...auth, jwt: resolveJwt(jwt) }
  // findConflicts has checked that everything the mode needs is there.
  return resolved as AuthConfig
}

/** @param isOff `http: false`, which turns off more than each of its switches */
export function resolveHttp(
  { staticDir = null, allowedOrigins = null, ...http }: OptionTree['http'],
  isOff: boolean,
): HttpConfig {
  return { ...http, operations: !isOff, staticDir, allowedOrigins }
}

const ADMIN_HOST = '127.0.0.1'

/** Options of the operations endpoints as the server uses them; without a port they share the public listener. */
export function resolveAdmin({ host = ADMIN_HOST, port, ...tokens }: AdminTree): AdminConfig {
  return {
    adminToken: tokens.adminToken ?? null,
    metricsToken: tokens.metricsToken ?? null,
    backupToken: tokens.backupToken ?? null,
    listener: port === undefined ? null : { host, port },
  }
}

/** Options of retention as the server uses them; null: operations are kept forever. */
export function resolveRetention({
  keepFor = null,
  tombstones = null,
  ...retention
}: OptionTree['retention']): RetentionConfig {
  return { ...retention, keepFor, tombstones }
}

/** Options of scheduled backups as the server uses them. */
export function resolveBackup({ directory, s3, ...backup }: BackupTree): BackupConfig {
  return { ...backup, directory: directory ?? null, s3: s3 === undefined ? null : resolveS3(s3) }
}

function resolveS3({ accessKeyId, secretAccessKey, ...s3 }: S3Tree): S3Config {
  const { bucket, prefix = '', endpoint = null, region = null, forcePathStyle = endpoint !== null } = s3
  const hasKey = accessKeyId !== undefined && secretAccessKey !== undefined
  const credentials = hasKey ? { accessKeyId, secretAccessKey } : null
  return { bucket, prefix, endpoint, region, forcePathStyle, credentials }
}

function resolveJwt({ clockTolerance, ...jwt }: JwtTree): JwtConfig {
  return { ...jwt, clockToleranceMs: clockTolerance }
}

function findAuthConflicts(auth: AuthTree | undefined): readonly ConfigProblem[] {
  switch (auth?.mode) {
    case 'jwt':
      return auth.jwt === undefined
        ? [{ path: 'auth.jwt', message: "missing; mode 'jwt' needs it, with keys, jwksUrl or secret" }]
        : findJwtConflicts(auth.jwt)
    case 'kora':
      return auth.secret === undefined
        ? [{ path: 'auth.secret', message: "missing; mode 'kora' needs it (or set KORA_AUTH_SECRET)" }]
        : findSecretProblems(auth.secret)
    case 'mixed':
      return [
        ...(auth.jwt === undefined ? [] : findJwtConflicts(auth.jwt)),
        ...(auth.secret === undefined ? [] : findSecretProblems(auth.secret)),
      ]
    default:
      return []
  }
}

function findSecretProblems(secret: string | readonly string[]): readonly ConfigProblem[] {
  return parseSecrets(secret, ['HS256']).flatMap(({ path, result }) =>
    typeof result === 'string' ? [{ path: `auth.${path}`, message: result }] : [],
  )
}

function findJwtConflicts(jwt: JwtTree): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = []
  if (jwt.jwksUrl !== undefined && jwt.algorithms?.every((name) => name.startsWith('HS'))) {
    const message = `${jwt.algorithms.join(', ')} need a secret; a JWKS holds public keys`
    problems.push({ path: 'auth.jwt.algorithms', message })
  }
  for (const { path, message } of parseConfiguredKeys(resolveJwt(jwt)).problems) {
    if (/^keys\[\d+\]$/.test(path)) continue // given in none of its forms, which findWrongCounts reports
    problems.push({ path: `auth.jwt.${path}`, message })
  }
  return problems
}

interface Choice {
  readonly path: string
  readonly names: readonly string[]
  readonly part: object
  /** The problem, except for what is given. */
  readonly need: string
  /** Where the missing option can be given, other than in the file. */
  readonly remedy?: string
}

/** Checks whatever has to be given in exactly one of several options. */
function findWrongCounts(auth: AuthTree | undefined, isMistaken: IsMistaken): readonly ConfigProblem[] {
  return choicesOf(auth).flatMap(({ path, names, part, need, remedy = '' }) => {
    const given = names.filter((name) => Object.hasOwn(part, name) || isMistaken(`${path}.${name}`))
    if (given.length === 1 || (given.length === 0 && isMistaken(path))) return []
    const several = names.length === 2 ? 'both' : given.join(' and ')
    return [{ path, message: `${need}; it has ${given.length === 0 ? `none${remedy}` : several}` }]
  })
}

function choicesOf(auth: AuthTree | undefined): readonly Choice[] {
  if (auth?.mode !== 'jwt' && auth?.mode !== 'mixed') return []
  const { mode, jwt } = auth
  const choices: Choice[] = []
  if (mode === 'mixed') {
    const need = "mode 'mixed' needs exactly one of jwt and secret"
    choices.push({ path: 'auth', names: ['jwt', 'secret'], part: auth, need })
  }
  if (jwt === undefined) return choices
  choices.push({
    path: 'auth.jwt',
    names: ['keys', 'jwksUrl', 'secret'],
    part: jwt,
    need: 'needs exactly one of keys, jwksUrl and secret',
    remedy: ' (or set KORA_AUTH_SECRET or KORA_JWKS_URL)',
  })
  for (const [index, part] of (jwt.keys ?? []).entries()) {
    const need = 'needs exactly one of jwk, pem and file'
    choices.push({ path: `auth.jwt.keys[${index}]`, names: ['jwk', 'pem', 'file'], part, need })
  }
  return choices
}

function findSchemaConflicts({
  schemaVersion,
  supportedSchemaVersions,
}: Partial<OptionTree>): readonly ConfigProblem[] {
  if (supportedSchemaVersions?.min === undefined || supportedSchemaVersions.max === undefined) return []
  const { min, max } = supportedSchemaVersions
  if (min > max) return [{ path: 'supportedSchemaVersions', message: `min (${min}) is above max (${max})` }]
  if (schemaVersion === undefined || (min <= schemaVersion && schemaVersion <= max)) return []
  return [
    {
      path: 'schemaVersion',
      message: `${schemaVersion} is outside supportedSchemaVersions (${min} to ${max})`,
    },
  ]
}

const MIN_BACKUP_INTERVAL_MS = 1000

function findBackupConflicts(backup: OptionTree['backup']): readonly ConfigProblem[] {
  if (backup === undefined) return []
  const problems: ConfigProblem[] = []
  if (backup.every !== undefined && backup.every < MIN_BACKUP_INTERVAL_MS) {
    problems.push({ path: 'backup.every', message: 'expected at least 1s between two backups' })
  }
  if (backup.directory === undefined && backup.s3 === undefined) {
    problems.push({ path: 'backup', message: 'needs a directory, or s3 with a bucket' })
  }
  const { accessKeyId, secretAccessKey } = backup.s3 ?? {}
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    const [given, missing] =
      accessKeyId === undefined ? ['secretAccessKey', 'accessKeyId'] : ['accessKeyId', 'secretAccessKey']
    problems.push({
      path: `backup.s3.${missing}`,
      message: `missing; ${given} is given, and neither works alone`,
    })
  }
  return problems
}

function findAdminConflicts({ host, port, admin }: Partial<OptionTree>): readonly ConfigProblem[] {
  if (admin?.port === undefined) {
    if (admin?.host === undefined) return []
    return [
      { path: 'admin.host', message: 'needs admin.port too; without it there is no listener of its own' },
    ]
  }
  if (admin.port !== port || port === 0 || host === undefined) return []
  if (!meet(host, admin.host ?? ADMIN_HOST)) return []
  return [{ path: 'admin.port', message: `${port} is the port of clients too; choose another` }]
}

/** True where two listeners cannot both use the port. */
function meet(host: string, other: string): boolean {
  return host === other || includes(host, other) || includes(other, host)
}

function includes(host: string, other: string): boolean {
  return host === '::' || (host === '0.0.0.0' && !isIPv6(other))
}

function findRetentionConflicts(retention: Partial<OptionTree['retention']> = {}): readonly ConfigProblem[] {
  const { automatic = false, every, keepFor, tombstones } = retention
  const problems: ConfigProblem[] = []
  if (every !== undefined && every < MIN_COMPACTION_INTERVAL_MS) {
    problems.push({ path: 'retention.every', message: 'expected at least 1s between two compactions' })
  }
  if (automatic && keepFor === undefined && tombstones === undefined) {
    const message = 'has nothing to do without retention.keepFor or retention.tombstones'
    problems.push({ path: 'retention.automatic', message })
  }
  return problems
}

const MIN_COMPACTION_INTERVAL_MS = 1000
