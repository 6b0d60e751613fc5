import { AuthError, assertNever } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import type { AuthConfig, JwtConfig } from './auth-config.ts'
import { JwksClient } from './jwks-client.ts'
import { JwtAuthProvider } from './jwt-provider.ts'
import type { KeySource } from './key-source.ts'
import { createStaticKeySource, parseConfiguredKeys, parseSecrets } from './key-source.ts'
import { MixedAuthProvider } from './mixed-auth-provider.ts'
import { NoAuthProvider } from './no-auth-provider.ts'
import type { AuthProvider } from './provider.ts'
import type { ScopeSource } from './scope-templates.ts'
import { scopeFieldsOf } from './scope-templates.ts'
import { TokenAuthProvider } from './token-auth-provider.ts'
import type { VerificationKey } from './verification-key.ts'

export interface CreateAuthProviderOptions {
  readonly runtime: Pick<Runtime, 'now' | 'monotonicNow' | 'uuid'>
  readonly logger: Logger
  /** Loads the file of `auth.provider`: its default export, or its export `provider`. */
  readonly loadProvider?: (file: string) => Promise<AuthProvider>
}

/**
 * Creates the configured provider. A JWKS is fetched once before this returns; if that fails, the failure is logged
 * and the server starts all the same.
 *
 * @throws AuthError `AUTH_CONFIG` when a key cannot be used
 */
export async function createAuthProvider(
  config: AuthConfig,
  options: CreateAuthProviderOptions,
): Promise<AuthProvider> {
  switch (config.mode) {
    case 'none':
      return new NoAuthProvider()
    case 'jwt':
      return createJwtProvider(config.jwt, config.scopes, options)
    case 'kora':
      return createKoraProvider(config.secret, config.scopes, options)
    case 'mixed':
      return new MixedAuthProvider({
        primary: config.jwt
          ? await createJwtProvider(config.jwt, config.scopes, options)
          : await createKoraProvider(config.secret, config.scopes, options),
        anonymousScopes: config.anonymous.scopes,
        anonymousPrefix: config.anonymous.prefix,
        invalidToken: config.invalidToken,
        logger: options.logger,
        runtime: options.runtime,
      })
    case 'custom':
      return createCustomProvider(config.provider, options)
    default:
      return assertNever(config)
  }
}

/** Collection → fields that the configured scopes filter by, for the server to index. */
export function scopeFieldsOfAuth(config: AuthConfig): { readonly [collection: string]: readonly string[] } {
  switch (config.mode) {
    case 'none':
    case 'custom':
      return {}
    case 'jwt':
    case 'kora':
      return scopeFieldsOf(config.scopes)
    case 'mixed':
      return mergeFields(scopeFieldsOf(config.scopes), scopeFieldsOf(config.anonymous.scopes))
    default:
      return assertNever(config)
  }
}

type FieldsByCollection = { readonly [collection: string]: readonly string[] }

function mergeFields(first: FieldsByCollection, second: FieldsByCollection): FieldsByCollection {
  const merged = new Map<string, Set<string>>()
  for (const [collection, fields] of [...Object.entries(first), ...Object.entries(second)]) {
    merged.set(collection, new Set([...(merged.get(collection) ?? []), ...fields]))
  }
  return Object.fromEntries([...merged].map(([collection, fields]) => [collection, [...fields]]))
}

async function createJwtProvider(
  config: JwtConfig,
  scopes: ScopeSource | undefined,
  options: CreateAuthProviderOptions,
): Promise<AuthProvider> {
  const { JwtVerifier } = await import('./jwt-verifier.ts') // loaded only where tokens are verified
  const verifier = new JwtVerifier({
    keySource: await openKeySource(config, options),
    issuer: config.issuer,
    audience: config.audience,
    clockToleranceMs: config.clockToleranceMs,
    runtime: options.runtime,
  })
  return new JwtAuthProvider({ verifier, userIdClaim: config.userIdClaim, scopes, logger: options.logger })
}

async function openKeySource(config: JwtConfig, options: CreateAuthProviderOptions): Promise<KeySource> {
  if (config.jwksUrl === undefined) {
    const { keys, problems } = parseConfiguredKeys(config)
    throwProblems(problems.map(({ path, message }) => `auth.jwt.${path}: ${message}`))
    return createStaticKeySource(keys)
  }
  const { runtime, logger } = options
  const client = new JwksClient({ url: config.jwksUrl, algorithms: config.algorithms, runtime, logger })
  await client.refresh() // a failure is logged there; the first token tries again
  return client
}

async function createKoraProvider(
  secret: string | readonly string[] | undefined,
  scopes: ScopeSource | undefined,
  { runtime, logger }: CreateAuthProviderOptions,
): Promise<AuthProvider> {
  const keys: VerificationKey[] = []
  const problems: string[] = []
  for (const { path, result } of parseSecrets(secret, ['HS256'])) {
    if (typeof result === 'string') problems.push(`auth.${path}: ${result}`)
    else keys.push(result)
  }
  throwProblems(problems)
  const { KoraTokenVerifier } = await import('./kora-token-verifier.ts')
  return new JwtAuthProvider({ verifier: new KoraTokenVerifier({ keys, runtime }), scopes, logger })
}

async function createCustomProvider(
  provider: AuthProvider | string,
  { logger, loadProvider }: CreateAuthProviderOptions,
): Promise<AuthProvider> {
  const custom = typeof provider === 'string' ? await loadProvider?.(provider) : provider
  if (custom === undefined)
    throw new AuthError('AUTH_CONFIG', `auth.provider: ${provider} cannot be loaded here.`)
  // Its errors become refusals, like those of every other function of the application.
  return new TokenAuthProvider({ validate: (token) => custom.authenticate(token), logger })
}

function throwProblems(problems: readonly string[]): void {
  if (problems.length > 0) throw new AuthError('AUTH_CONFIG', problems.join('\n'))
}
