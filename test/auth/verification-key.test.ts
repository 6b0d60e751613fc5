import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parseConfiguredKeys } from '../../src/auth/key-source.ts'
import type { KeyResult } from '../../src/auth/verification-key.ts'
import { jwkToKey, keyFileToKey, pemToKey, secretToKey } from '../../src/auth/verification-key.ts'
import { SECRET } from '../support/tokens.ts'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1024 })
const p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
const ed25519 = generateKeyPairSync('ed25519')
const x25519 = generateKeyPairSync('x25519')

const pemOf = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
const privatePemOf = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
const jwkOf = (key: KeyObject) => ({ ...key.export({ format: 'jwk' }) })
const algorithmsOf = (result: KeyResult) => (typeof result === 'string' ? result : result.algorithms)

describe('a key implies its algorithms', () => {
  test.each([
    ['RSA', rsa.publicKey, ['RS256']],
    ['P-256', p256.publicKey, ['ES256']],
    ['P-384', p384.publicKey, ['ES384']],
    ['Ed25519', ed25519.publicKey, ['EdDSA', 'Ed25519']],
  ])('%s', (_name, key, algorithms) => {
    expect(algorithmsOf(pemToKey(pemOf(key), {}))).toEqual(algorithms)
    expect(algorithmsOf(jwkToKey(jwkOf(key), {}))).toEqual(algorithms)
  })

  test('a secret: HS256, or the HMAC algorithms that are accepted by name', () => {
    expect(algorithmsOf(secretToKey(SECRET))).toEqual(['HS256'])
    expect(algorithmsOf(secretToKey(SECRET, { accepted: ['HS512', 'RS256'] }))).toEqual(['HS512'])
  })

  test('accepted algorithms choose among those of an RSA key', () => {
    expect(algorithmsOf(pemToKey(pemOf(rsa.publicKey), { accepted: ['PS256', 'RS512'] }))).toEqual([
      'RS512',
      'PS256',
    ])
  })
})

test('a private key verifies with its public half', () => {
  for (const result of [
    pemToKey(privatePemOf(rsa.privateKey), {}),
    jwkToKey(jwkOf(ed25519.privateKey), {}),
    keyFileToKey(privatePemOf(p256.privateKey), {}),
  ]) {
    expect(typeof result === 'string' ? result : result.key.type).toBe('public')
  }
})

describe('says why a key cannot be used', () => {
  test.each<[string, KeyResult]>([
    [
      'it does not parse as a PEM key',
      pemToKey('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----', {}),
    ],
    ['it does not parse as a JWK', jwkToKey({ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }, {})],
    ['it does not parse as a JWK', keyFileToKey('{ not json', {})],
    ['it does not parse as a JWK', jwkToKey({ kty: 'oct' }, {})],
    ['it has 1024 bits; RSA keys need at least 2048', pemToKey(pemOf(weakRsa.publicKey), {})],
    ['it has 3 bytes; at least 32 are needed', jwkToKey({ kty: 'oct', k: 'AAAA' }, {})],
    ['it has 5 characters; at least 32 are needed', secretToKey('short')],
    ['it has 1 character; at least 32 are needed', secretToKey('x')],
    ['it has 1 byte; at least 32 are needed', jwkToKey({ kty: 'oct', k: 'AA' }, {})],
    ['it is a PEM key, not a secret: put it into keys', secretToKey(pemOf(rsa.publicKey))],
    [
      'it is of type rsa, which cannot be used with HS256 (RS256, RS384, RS512, PS256, PS384, PS512)',
      pemToKey(pemOf(rsa.publicKey), { alg: 'HS256' }),
    ],
    [
      'it is of type ec prime256v1, which cannot be used with ES384 (ES256)',
      pemToKey(pemOf(p256.publicKey), { alg: 'ES384' }),
    ],
    [
      'it works with ES256, but algorithms accepts only RS256',
      pemToKey(pemOf(p256.publicKey), { accepted: ['RS256'] }),
    ],
    ['keys of its type (ec secp256k1) are not supported', pemToKey(pemOf(koblitz.publicKey), {})],
    ['keys of its type (x25519) are not supported', pemToKey(pemOf(x25519.publicKey), {})],
    [
      'its own "alg" is RS512, not RS256',
      jwkToKey({ ...jwkOf(rsa.publicKey), alg: 'RS512' }, { alg: 'RS256' }),
    ],
    ['its "use" is not "sig"', jwkToKey({ ...jwkOf(rsa.publicKey), use: 'enc' }, {})],
    [
      'its "key_ops" do not allow to verify signatures',
      jwkToKey({ ...jwkOf(rsa.publicKey), key_ops: ['encrypt'] }, {}),
    ],
    ['it is a key set; give one key per entry, or serve it as jwksUrl', keyFileToKey('{"keys":[]}', {})],
  ])('%s', (message, result) => {
    expect(result).toBe(message)
  })
})

describe('the keys of a configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kora-keys-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const common = { clockToleranceMs: 0, userIdClaim: 'sub' }

  test('come as JWK, PEM and files of both', () => {
    const [jwkFile, pemFile] = [join(folder, 'key.json'), join(folder, 'key.pem')]
    writeFileSync(jwkFile, JSON.stringify({ ...jwkOf(p256.publicKey), kid: 'from-file' }))
    writeFileSync(pemFile, pemOf(ed25519.publicKey))

    const { keys, problems } = parseConfiguredKeys({
      ...common,
      keys: [
        { jwk: { ...jwkOf(rsa.publicKey), kid: 'inline' } },
        { kid: 'pem', alg: 'RS512', pem: pemOf(rsa.publicKey) },
        { file: jwkFile },
        { kid: 'ed', file: pemFile },
      ],
    })

    expect(problems).toEqual([])
    expect(keys.map(({ kid, algorithms }) => [kid, algorithms])).toEqual([
      ['inline', ['RS256']],
      ['pem', ['RS512']],
      ['from-file', ['ES256']],
      ['ed', ['EdDSA', 'Ed25519']],
    ])
  })

  test('are all looked at: each problem has its path', () => {
    const missing = join(folder, 'missing.pem')
    const { problems } = parseConfiguredKeys({
      ...common,
      keys: [{ file: missing }, { file: folder }, { pem: 'nonsense' }, {}],
    })
    expect(problems).toEqual([
      { path: 'keys[0].file', message: `${missing} not found` },
      { path: 'keys[1].file', message: `${folder} cannot be read (EISDIR)` },
      { path: 'keys[2].pem', message: 'it does not parse as a PEM key' },
      { path: 'keys[3]', message: 'needs one of jwk, pem and file' },
    ])
    expect(parseConfiguredKeys({ ...common, secret: [SECRET, 'short'] }).problems).toEqual([
      { path: 'secret[1]', message: 'it has 5 characters; at least 32 are needed' },
    ])
  })
})
