import type { JsonWebKey, KeyObject } from 'node:crypto'
import { createPublicKey, createSecretKey } from 'node:crypto'
import { quantityOf } from '../core/quantity.ts'

/** A key that verifies signatures, with the algorithms that it may be used with. */
export interface VerificationKey {
  /** Absent: the key is tried for every token that names no other. */
  readonly kid?: string
  /** Never taken from a token: a key that verifies RS256 must not verify HS256. */
  readonly algorithms: readonly string[]
  readonly key: KeyObject
}

export interface KeyRestrictions {
  readonly kid?: string | undefined
  /** The algorithm that the configuration or the JWK names for this key. */
  readonly alg?: string | undefined
  /** The algorithms that the configuration accepts. */
  readonly accepted?: readonly string[] | undefined
}

/** A key, or one sentence that says why it is not one, without quoting it. */
export type KeyResult = VerificationKey | string

/** The signature algorithms that are supported. */
export const SIGNATURE_ALGORITHMS = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const

export const MIN_SECRET_CHARACTERS = 32 // RFC 7518, 3.2: an HS256 key has at least 256 bits
const MIN_RSA_BITS = 2048 // RFC 7518, 3.3

/** Makes a key of a shared secret, used with HS256 unless the configuration accepts other HMAC algorithms. */
export function secretToKey(secret: string, restrictions: KeyRestrictions = {}): KeyResult {
  if (secret.includes('-----BEGIN ')) return 'it is a PEM key, not a secret: put it into keys'
  if (secret.length < MIN_SECRET_CHARACTERS) {
    return `it has ${quantityOf(secret.length, 'character')}; at least ${MIN_SECRET_CHARACTERS} are needed`
  }
  return bindKey(createSecretKey(Buffer.from(secret, 'utf8')), restrictions)
}

/** Makes a key of a public key or certificate in PEM, or of the public half of a private key. */
export function pemToKey(pem: string, restrictions: KeyRestrictions): KeyResult {
  let key: KeyObject
  try {
    key = createPublicKey(pem)
  } catch {
    return 'it does not parse as a PEM key'
  }
  return bindKey(key, restrictions)
}

/** Makes a key of a JWK, or of the public half of a private one. */
export function jwkToKey(
  jwk: { readonly [property: string]: unknown },
  restrictions: KeyRestrictions,
): KeyResult {
  const { kid, alg, use, key_ops: keyOps } = jwk
  if (use !== undefined && use !== 'sig') return 'its "use" is not "sig"'
  if (Array.isArray(keyOps) && !keyOps.includes('verify') && !keyOps.includes('sign')) {
    return 'its "key_ops" do not allow to verify signatures'
  }
  if (typeof alg === 'string' && restrictions.alg !== undefined && alg !== restrictions.alg) {
    return `its own "alg" is ${alg}, not ${restrictions.alg}`
  }
  const key = importJwk(jwk)
  if (key === null) return 'it does not parse as a JWK'
  return bindKey(key, {
    kid: restrictions.kid ?? (typeof kid === 'string' ? kid : undefined),
    alg: restrictions.alg ?? (typeof alg === 'string' ? alg : undefined),
    accepted: restrictions.accepted,
  })
}

/** Makes a key of a JWK or PEM file; its content tells which. */
export function keyFileToKey(content: string, restrictions: KeyRestrictions): KeyResult {
  if (!content.trimStart().startsWith('{')) return pemToKey(content, restrictions)
  const jwk = parseJsonObject(content)
  if (jwk === null) return 'it does not parse as a JWK'
  return 'keys' in jwk
    ? 'it is a key set; give one key per entry, or serve it as jwksUrl'
    : jwkToKey(jwk, restrictions)
}

function importJwk(jwk: { readonly [property: string]: unknown }): KeyObject | null {
  try {
    if (jwk.kty !== 'oct') return createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' })
    const secret = typeof jwk.k === 'string' ? Buffer.from(jwk.k, 'base64url') : Buffer.alloc(0)
    return secret.length === 0 ? null : createSecretKey(secret)
  } catch {
    return null
  }
}

function bindKey(key: KeyObject, { kid, alg, accepted }: KeyRestrictions): KeyResult {
  const strength = strengthProblem(key)
  if (strength !== null) return strength
  const possible = possibleAlgorithms(key)
  if (possible.length === 0) return `keys of its type (${describeKey(key)}) are not supported`
  if (alg !== undefined && !possible.includes(alg)) {
    return `it is of type ${describeKey(key)}, which cannot be used with ${alg} (${possible.join(', ')})`
  }
  const algorithms =
    alg !== undefined ? [alg] : accepted !== undefined ? possible : impliedAlgorithms(key, possible)
  const usable = accepted === undefined ? algorithms : algorithms.filter((name) => accepted.includes(name))
  if (usable.length === 0) {
    return `it works with ${algorithms.join(', ')}, but algorithms accepts only ${accepted?.join(', ')}`
  }
  return { ...(kid !== undefined && { kid }), algorithms: usable, key }
}

/** The most common algorithm of a key that could serve several, unless they are named. */
function impliedAlgorithms(key: KeyObject, possible: readonly string[]): readonly string[] {
  return key.asymmetricKeyType === 'ed25519' ? possible : possible.slice(0, 1)
}

function possibleAlgorithms(key: KeyObject): readonly string[] {
  if (key.type === 'secret') return ['HS256', 'HS384', 'HS512']
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
    case 'ed25519':
      return ['EdDSA', 'Ed25519']
    case 'ec':
      return ALGORITHMS_BY_CURVE[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? []
    default:
      return []
  }
}

const ALGORITHMS_BY_CURVE: { readonly [curve: string]: readonly string[] } = {
  prime256v1: ['ES256'],
  secp384r1: ['ES384'],
  secp521r1: ['ES512'],
}

function strengthProblem(key: KeyObject): string | null {
  if (key.type === 'secret') {
    const bytes = key.symmetricKeySize ?? 0
    return bytes < MIN_SECRET_CHARACTERS
      ? `it has ${quantityOf(bytes, 'byte')}; at least ${MIN_SECRET_CHARACTERS} are needed`
      : null
  }
  const bits = key.asymmetricKeyDetails?.modulusLength
  return bits !== undefined && bits < MIN_RSA_BITS
    ? `it has ${bits} bits; RSA keys need at least ${MIN_RSA_BITS}`
    : null
}

function describeKey(key: KeyObject): string {
  if (key.type === 'secret') return 'secret'
  const curve = key.asymmetricKeyDetails?.namedCurve
  return curve === undefined ? `${key.asymmetricKeyType}` : `${key.asymmetricKeyType} ${curve}`
}

/** Parses the text of a JSON object; null for anything else. */
export function parseJsonObject(text: string): { readonly [property: string]: unknown } | null {
  try {
    const value: unknown = JSON.parse(text)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as { readonly [property: string]: unknown }) : null
  } catch {
    return null
  }
}
