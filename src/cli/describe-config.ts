import type { AuthConfig, JwtConfig } from '../auth/auth-config.ts'
import { displayPath } from '../config/display-path.ts'
import type { LoadedSchema, StoreConfig } from '../config/server-config.ts'
import { assertNever } from '../core/errors.ts'
import { maskSecrets } from '../core/mask-secrets.ts'
import { maskPostgresUrl } from '../core/postgres-url.ts'
import { formatQuantity } from './output/format.ts'

/** "SQLite, kora-server.db" */
export function describeStore(store: StoreConfig, cwd: string): string {
  switch (store.driver) {
    case 'sqlite':
      return `SQLite, ${displayPath(store.filename, cwd)}`
    case 'postgres':
      return `PostgreSQL, ${maskPostgresUrl(store.connectionString)}`
    case 'memory':
      return 'memory: everything is gone when the server stops'
    default:
      return assertNever(store)
  }
}

/** "version 3, 4 collections, schema.ts" */
export function describeSchema({ definition, file }: LoadedSchema, cwd: string): string {
  const collections = formatQuantity(Object.keys(definition.collections).length, 'collection')
  const source = file === null ? '' : `, ${displayPath(file, cwd)}`
  return `version ${definition.version}, ${collections}${source}`
}

/** "JWT by 2 keys; scoped by claims" */
export function describeAuth(auth: AuthConfig): string {
  switch (auth.mode) {
    case 'none':
      return 'none: whoever reaches the server reads and writes everything'
    case 'jwt':
      return `${describeJwt(auth.jwt)}; ${describeScoping(auth)}`
    case 'kora':
      return `tokens of @korajs/auth; ${describeScoping(auth)}`
    case 'mixed':
      return `${auth.jwt === undefined ? 'tokens of @korajs/auth' : describeJwt(auth.jwt)}; ${describeScoping(auth)}; or anonymous`
    case 'custom':
      return 'custom provider'
    default:
      return assertNever(auth)
  }
}

/** True when every authenticated user sees and writes everything. */
export function isUnscoped(auth: AuthConfig): boolean {
  return (auth.mode === 'jwt' || auth.mode === 'kora' || auth.mode === 'mixed') && auth.scopes === undefined
}

function describeScoping(auth: AuthConfig): string {
  return isUnscoped(auth) ? 'unscoped: every user sees everything' : 'scoped by claims'
}

function describeJwt(jwt: JwtConfig): string {
  if (jwt.jwksUrl !== undefined) return `JWT by ${maskSecrets(jwt.jwksUrl)}`
  if (jwt.secret !== undefined) return 'JWT by secret'
  return `JWT by ${formatQuantity(jwt.keys?.length ?? 0, 'key')}`
}
