import { existsSync } from 'node:fs'
import type { AuthConfig } from '../auth/auth-config.ts'
import { findUnmarkedClaims } from '../auth/scope-templates.ts'
import { nearestName } from '../core/schema/names.ts'
import { hasDotenvFolder } from './dotenv.ts'
import { isScriptFile } from './find-config.ts'
import { ENVIRONMENT_VARIABLES, OPTIONS } from './options.ts'
import type { OverrideSources } from './overrides.ts'
import type { ConfigDoubt, ConfigEntry, ServerConfig } from './server-config.ts'

interface LoadedConfig {
  readonly values: ServerConfig
  readonly entries: readonly ConfigEntry[]
  /** Options that are next to `server` in the file. */
  readonly beside: readonly string[]
  /** null: there is none */
  readonly file: string | null
}

/** Finds settings that work, but are hardly what was meant. Contains no secret. */
export function findDoubts(
  { env, dotenv, configDir }: OverrideSources,
  { values, entries, beside, file }: LoadedConfig,
): readonly ConfigDoubt[] {
  // A script may have read the variable itself, for an option that it sets.
  const given =
    file !== null && isScriptFile(file) ? entries.filter(({ origin }) => origin.kind === 'file') : []
  return [
    ...findMisspelt({ ...dotenv, ...env }, given),
    ...(hasDotenvFolder(configDir)
      ? [{ subject: '.env', message: 'is a folder: no variable is read from it.' }]
      : []),
    ...beside.map((subject) => ({
      subject,
      message: 'stands beside server, where the server does not read it. Move it into server.',
    })),
    ...findFramedSecrets(values.auth, entries),
    ...findUnmarkedScopes(values.auth),
    ...findUnreachable(values),
    ...findRefusedVersion(values),
  ]
}

/** Finds scopes that show nobody a record, because the `$` of a claim is missing. */
function findUnmarkedScopes(auth: AuthConfig): readonly ConfigDoubt[] {
  return findUnmarkedClaims('scopes' in auth ? auth.scopes : undefined).map(({ path, value, meant }) => ({
    subject: `auth.scopes.${path}`,
    message: `'${value}' is a text that records must hold, and names no claim. Did you mean '${meant}'?`,
  }))
}

/** Finds settings that another setting, or the disk, leaves without effect. */
function findUnreachable({ limits, http }: ServerConfig): readonly ConfigDoubt[] {
  const { maxOperationBytes, maxMessageBytes } = limits
  const doubts: ConfigDoubt[] = []
  if (maxMessageBytes < maxOperationBytes) {
    const message =
      `${maxOperationBytes}, but limits.maxMessageBytes is ${maxMessageBytes}: a client with an operation larger than that ` +
      'is cut off each time it sends it. Raise the latter, or lower the former.'
    doubts.push({ subject: 'limits.maxOperationBytes', message })
  }
  if (http.staticDir !== null && !existsSync(http.staticDir)) {
    const message = `${http.staticDir} does not exist: until it does, no page is served.`
    doubts.push({ subject: 'http.staticDir', message })
  }
  return doubts
}

/** Only a doubt, because the tables may be made for a schema before apps with it are let in. */
function findRefusedVersion({
  schema,
  schemaVersion,
  supportedSchemaVersions: { min, max },
}: ServerConfig): readonly ConfigDoubt[] {
  if (schema === null || (min <= schemaVersion && schemaVersion <= max)) return []
  const message = `its version ${schemaVersion} is outside supportedSchemaVersions (${min} to ${max}): clients that have it are refused.`
  return [{ subject: 'schema', message }]
}

const PREFIX = /^KORA_/
const VARIABLES_BY_WORDS: ReadonlyMap<string, string> = new Map(
  [...ENVIRONMENT_VARIABLES].map((name) => [name.replace(PREFIX, ''), name]),
)

/**
 * Finds variables whose name is close to that of a known one that is not set: a server may be open that its
 * operator believes closed. Other variables may belong to the app, or to Kubernetes, which sets `KORA_SERVICE_PORT`
 * and such beside a service `kora`.
 *
 * @param given options for which the variable may be meant, and is read
 */
function findMisspelt(
  variables: OverrideSources['env'],
  given: readonly ConfigEntry[],
): readonly ConfigDoubt[] {
  return Object.entries(variables).flatMap(([name, value = '']) => {
    if (!/^KORA_\w+$/.test(name) || ENVIRONMENT_VARIABLES.has(name)) return []
    if (value === '' || /^(tcp|udp|sctp):\/\//.test(value)) return [] // Kubernetes: KORA_PORT=tcp://10.0.0.1:4567
    const words = name.replace(PREFIX, '')
    const nearest = nearestName(words, [...VARIABLES_BY_WORDS.keys()], Math.floor(words.length / 4))
    const meant = VARIABLES_BY_WORDS.get(nearest ?? '')
    if (meant === undefined || variables[meant] || given.some(({ path }) => isSetBy(meant, path))) return []
    return [{ subject: name, message: `is set, but no option takes it. Did you mean ${meant}?` }]
  })
}

function isSetBy(variable: string, path: string): boolean {
  return OPTIONS.some((option) => 'env' in option && option.env === variable && option.path === path)
}

/**
 * Finds secrets with blanks or line ends around them: an issuer that signs with the bare secret would have all its
 * tokens refused.
 */
function findFramedSecrets(auth: AuthConfig, entries: readonly ConfigEntry[]): readonly ConfigDoubt[] {
  const secretsByPath = {
    'auth.secret': 'secret' in auth ? auth.secret : undefined,
    'auth.jwt.secret': 'jwt' in auth ? auth.jwt?.secret : undefined,
  }
  return Object.entries(secretsByPath).flatMap(([path, secrets = []]) => {
    if ([secrets].flat().every((secret) => secret === secret.trim())) return []
    const origin = entries.find((entry) => entry.path === path)?.origin
    const source = origin !== undefined && 'name' in origin ? ` (${origin.name})` : ''
    const message =
      'begins or ends with a blank or a line end, which is part of the secret: tokens that were signed without it are refused.'
    return [{ subject: `${path}${source}`, message }]
  })
}
