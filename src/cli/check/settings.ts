import { isIP } from 'node:net'
import type { AuthConfig, JwtConfig } from '../../auth/auth-config.ts'
import type { ServerConfig } from '../../config/server-config.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { isUnscoped } from '../describe-config.ts'
import { type Finding, warning } from './finding.ts'

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

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
