import type { AuthConfig, JwtConfig } from '../../auth/auth-config.ts'
import type { ScopeSource } from '../../auth/scope-templates.ts'
import type { EffectiveConfig, ServerConfig } from '../../config/server-config.ts'
import { isLoopback } from '../../core/loopback.ts'
import { ownValue } from '../../core/own-property.ts'
import { nearestName } from '../../core/schema/names.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { isUnscoped } from '../describe-config.ts'
import { formatQuantity } from '../output/format.ts'
import { type Finding, ok, warning } from './finding.ts'

/** Settings that work and may still not be what their owner wants. Looks at the configuration only. */
export function findRiskySettings(config: ServerConfig): Finding[] {
  const { auth, host, store, schema } = config
  const findings: Finding[] = []
  if (auth.mode === 'none' && !isLoopback(host)) {
    findings.push(
      warning(
        'auth.mode',
        `"none" on ${host}: whoever reaches this address reads and writes everything. Configure auth, or listen on 127.0.0.1.`,
      ),
    )
  }
  findings.push(
    ...unknownScopes(auth, schema?.definition ?? null),
    ...shortTokens(config),
    ...noToken(config),
  )
  if (isUnscoped(auth)) findings.push(unscopedWarning(schema?.definition ?? null))
  const jwt = jwtOf(auth)
  if (jwt !== null) findings.push(...missingClaimChecks(jwt))
  if (store.driver === 'memory') {
    findings.push(warning('store.driver', '"memory": everything is gone when the server stops.'))
  }
  if (store.driver === 'sqlite' && store.durability === 'normal') {
    findings.push(
      warning(
        'store.durability',
        '"normal": a power cut may lose the last commits, although clients were told they are stored.',
      ),
    )
  }
  if (schema === null) {
    findings.push(
      warning(
        'schema',
        'none: clients sync, but records cannot be queried. Name a file with --schema or "schema".',
      ),
    )
  }
  return findings
}

/** Not warnings: the image sets KORA_DB for those who name no store, and it is rightly unused where they do. */
export function noteUnused({ unused }: EffectiveConfig): Finding[] {
  return unused.map(({ name, path }) => ok(path, `${name} is set, and not used with this configuration.`))
}

/** A scope by what no record has shows nothing to anybody. */
function unknownScopes(auth: AuthConfig, schema: SchemaDefinition | null): Finding[] {
  if (schema === null) return []
  const findings = 'scopes' in auth ? unknownNames('auth.scopes', schema, auth.scopes) : []
  if (auth.mode !== 'mixed') return findings
  return [...findings, ...unknownNames('auth.anonymous.scopes', schema, auth.anonymous.scopes)]
}

function unknownNames(path: string, { collections }: SchemaDefinition, scopes: ScopeSource = {}): Finding[] {
  if (typeof scopes === 'function') return []
  return Object.entries(scopes).flatMap(([collection, filter]) => {
    const fields = ownValue(collections, collection)?.fields
    if (fields === undefined) {
      const message = `the schema has no such collection${hint(collection, collections)}`
      return [warning(`${path}.${collection}`, message)]
    }
    return Object.keys(filter)
      .filter((field) => ownValue(fields, field) === undefined)
      .map((field) =>
        warning(
          `${path}.${collection}.${field}`,
          `the schema has no such field: nobody sees a record of ${collection}${hint(field, fields)}`,
        ),
      )
  })
}

function hint(name: string, known: object): string {
  const nearest = nearestName(name, Object.keys(known))
  return nearest === undefined ? '.' : `. Did you mean ${nearest}?`
}

const MIN_TOKEN_CHARACTERS = 16 // 64 bits in hexadecimal: more than anybody tries over a network

function shortTokens({ admin }: ServerConfig): Finding[] {
  return (['adminToken', 'metricsToken', 'backupToken'] as const).flatMap((name) => {
    const { length } = admin[name] ?? 'x'.repeat(MIN_TOKEN_CHARACTERS)
    if (length >= MIN_TOKEN_CHARACTERS) return []
    return [
      warning(
        `admin.${name}`,
        `has ${formatQuantity(length, 'character')} and can be guessed. Make one: openssl rand -hex 16`,
      ),
    ]
  })
}

/** What authentication keeps from strangers, the operations endpoints of a listener on loopback show to its proxy. */
function noToken({ auth, admin, host, http }: ServerConfig): Finding[] {
  const isOpen = admin.adminToken === null && admin.metricsToken === null && admin.backupToken === null
  if (!isOpen || auth.mode === 'none' || !http.operations || admin.listener !== null || !isLoopback(host)) {
    return []
  }
  return [
    warning(
      'admin.adminToken',
      `not set: on ${host} all records are shown to this machine, and to strangers by a proxy on it that does not say it is one. Set KORA_ADMIN_TOKEN.`,
    ),
  ]
}

function unscopedWarning(schema: SchemaDefinition | null): Finding {
  const scoped = schema === null ? [] : collectionsWithOwners(schema)
  return warning(
    'auth.scopes',
    scoped.length === 0
      ? 'not set: every authenticated user sees and writes everything.'
      : `not set, but the schema ties ${scoped.join(', ')} to users: every user sees and writes the records of all others.`,
  )
}

/** Collections that the schema itself says belong to someone. */
function collectionsWithOwners(schema: SchemaDefinition): string[] {
  return Object.entries(schema.collections)
    .filter(([name, { scope }]) => scope.length > 0 || Object.hasOwn(schema.sync ?? {}, name))
    .map(([name]) => name)
}

function missingClaimChecks({ issuer, audience }: JwtConfig): Finding[] {
  const findings: Finding[] = []
  if (issuer === undefined) {
    findings.push(
      warning('auth.jwt.issuer', 'not set: tokens of any issuer that uses these keys are accepted.'),
    )
  }
  if (audience === undefined) {
    findings.push(
      warning('auth.jwt.audience', 'not set: tokens made for other services of the issuer are accepted too.'),
    )
  }
  return findings
}

function jwtOf(auth: AuthConfig): JwtConfig | null {
  return (auth.mode === 'jwt' || auth.mode === 'mixed') && auth.jwt !== undefined ? auth.jwt : null
}
