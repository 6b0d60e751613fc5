import { createPrivateKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { AuthConfig, JwtConfig, KeyConfig } from '../../auth/auth-config.ts'
import { parseConfiguredKeys } from '../../auth/key-source.ts'
import { parseJsonObject, secretToKey, type VerificationKey } from '../../auth/verification-key.ts'
import { AuthError, assertNever, ConfigError } from '../../core/errors.ts'

/** A key for signing tokens that the configured server accepts. */
export interface SigningKey {
  readonly key: KeyObject
  readonly alg: string
  readonly kid?: string
}

/**
 * The first configured key that can sign.
 *
 * @throws ConfigError `INVALID_ARGUMENT` when there is none; AuthError `AUTH_CONFIG` when one is broken
 */
export function findSigningKey(auth: AuthConfig): SigningKey {
  switch (auth.mode) {
    case 'kora':
      return secretSigningKey(auth.secret, 'auth.secret', ['HS256'])
    case 'jwt':
      return findJwtKey(auth.jwt)
    case 'mixed':
      if (auth.jwt !== undefined) return findJwtKey(auth.jwt)
      return secretSigningKey(auth.secret ?? [], 'auth.secret', ['HS256'])
    case 'none':
      throw cannotSign('auth.mode is "none", so the server asks for no tokens')
    case 'custom':
      throw cannotSign('auth.mode is "custom", and only the provider knows how its tokens are made')
    default:
      return assertNever(auth)
  }
}

function findJwtKey(jwt: JwtConfig): SigningKey {
  if (jwt.secret !== undefined) return secretSigningKey(jwt.secret, 'auth.jwt.secret', jwt.algorithms)
  if (jwt.jwksUrl !== undefined) {
    throw cannotSign('auth.jwt.jwksUrl holds public keys only. Ask its issuer for a token')
  }
  for (const entry of jwt.keys ?? []) {
    const { keys, problems } = parseConfiguredKeys({ ...jwt, keys: [entry] })
    if (problems[0] !== undefined) throw new AuthError('AUTH_CONFIG', `auth.jwt.keys: ${problems[0].message}`)
    const privateKey = privateHalf(entry)
    if (privateKey !== null && keys[0] !== undefined) return toSigningKey(privateKey, keys[0])
  }
  throw cannotSign('auth.jwt.keys holds public keys only. For development, add a private one')
}

/** Uses the first of several secrets, which is the newest. */
function secretSigningKey(
  secret: string | readonly string[],
  path: string,
  accepted: readonly string[] | undefined,
): SigningKey {
  const newest = typeof secret === 'string' ? secret : (secret[0] ?? '')
  const key = secretToKey(newest, { accepted })
  if (typeof key === 'string') throw new AuthError('AUTH_CONFIG', `${path}: ${key}`)
  return toSigningKey(key.key, key)
}

function toSigningKey(key: KeyObject, { algorithms, kid }: VerificationKey): SigningKey {
  return { key, alg: algorithms[0] ?? '', ...(kid === undefined ? {} : { kid }) }
}

/** The part of a configured key that signs; null when it has only the public part. */
function privateHalf({ jwk, pem, file }: KeyConfig): KeyObject | null {
  const text = jwk === undefined ? (pem ?? (file === undefined ? '' : readFileSync(file, 'utf8'))) : ''
  const webKey = jwk ?? parseJsonObject(text)
  if (webKey?.kty === 'oct') return createSecretKey(Buffer.from(String(webKey.k), 'base64url'))
  try {
    return webKey === null
      ? createPrivateKey(text)
      : createPrivateKey({ key: webKey as JsonWebKey, format: 'jwk' })
  } catch {
    return null // the entry has parsed as a key before, so this is a public one
  }
}

function cannotSign(reason: string): ConfigError {
  return new ConfigError('INVALID_ARGUMENT', `No token can be signed: ${reason}.`)
}
