import { createHmac, createPublicKey } from 'node:crypto'
import type { JWK } from 'jose'
import { EncryptJWT } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import type { JwtConfig } from '../../src/auth/auth-config.ts'
import { createAuthProvider } from '../../src/auth/create-auth-provider.ts'
import { explainToken } from '../../src/auth/explaining-provider.ts'
import type { AuthVerdict, TokenRefusalReason } from '../../src/auth/token-verdict.ts'
import { silentLogger } from '../../src/core/logger.ts'
import {
  claims,
  fixedRuntime,
  makeKey,
  NOW_SECONDS,
  SECRET,
  secretBytes,
  sign,
  type TestKey,
  withOtherSpareBits,
} from '../support/tokens.ts'
import { reportFigures } from '../support/trust.ts'

const ISSUER = 'https://auth.example.com'
const AUDIENCE = 'sync'
const MAX_VERDICT_MS = 5 // of CPU: how long one waits for it depends on what else the machine does

let rsa: TestKey
let rotatedRsa: TestKey
let strangeRsa: TestKey
let ec: TestKey
let ed: TestKey
let config: JwtConfig

beforeAll(async () => {
  ;[rsa, rotatedRsa, strangeRsa, ec, ed] = await Promise.all([
    makeKey('RS256', 'rsa-1'),
    makeKey('RS256', 'rsa-2'),
    makeKey('RS256', 'rsa-1'),
    makeKey('ES256', 'ec-1'),
    makeKey('EdDSA', 'ed-1'),
  ])
  config = {
    keys: [rsa, rotatedRsa, ec, ed].map(({ publicJwk }) => ({ jwk: { ...publicJwk } })),
    issuer: ISSUER,
    audience: AUDIENCE,
    clockToleranceMs: 5000,
    userIdClaim: 'sub',
  }
})

/** Claims of the configured issuer. */
function good(overrides: { readonly [claim: string]: unknown } = {}): { [claim: string]: unknown } {
  return claims({ iss: ISSUER, aud: AUDIENCE, ...overrides })
}

function signRsa(payload = good(), header: { readonly [name: string]: unknown } = {}): Promise<string> {
  return sign(payload, { alg: 'RS256', kid: 'rsa-1', ...header }, rsa.privateKey)
}

function provide(overrides: Partial<JwtConfig> = {}) {
  return createAuthProvider(
    { mode: 'jwt', jwt: { ...config, ...overrides } },
    { runtime: fixedRuntime(), logger: silentLogger },
  )
}

async function explain(token: string, overrides: Partial<JwtConfig> = {}): Promise<AuthVerdict> {
  return explainToken(await provide(overrides), token)
}

/** CPU that the verdict of a token takes, ms: the median of several, because other work of the process counts too. */
async function verdictMs(token: string, overrides: Partial<JwtConfig> = {}): Promise<number> {
  const provider = await provide(overrides)
  const times: number[] = []
  for (let repeat = 0; repeat < 15; repeat++) {
    const before = process.cpuUsage()
    await explainToken(provider, token)
    const { user, system } = process.cpuUsage(before)
    times.push((user + system) / 1000)
  }
  return times.sort((a, b) => a - b)[7] ?? 0
}

function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

/** A token whose payload is not what JSON.stringify would write. */
async function signRawPayload(payload: string): Promise<string> {
  const { CompactSign } = await import('jose')
  return new CompactSign(Buffer.from(payload))
    .setProtectedHeader({ alg: 'RS256', kid: 'rsa-1' })
    .sign(rsa.privateKey)
}

/** The classic confusion: an HMAC whose secret is the public key that everybody knows. */
function signWithPublicKeyAsSecret(header: { readonly [name: string]: unknown }): string {
  const pem = publicPem(rsa.publicJwk)
  const signed = `${encode({ typ: 'JWT', ...header })}.${encode(good())}`
  return `${signed}.${createHmac('sha256', pem).update(signed).digest('base64url')}`
}

const unsigned = (header: unknown, payload: unknown = good()) => `${encode(header)}.${encode(payload)}.`

describe('accepts', () => {
  const rows: readonly [
    name: string,
    make: () => string | Promise<string>,
    overrides?: Partial<JwtConfig>,
  ][] = [
    ['RS256 by kid', () => signRsa()],
    [
      'the second key of a rotation',
      () => sign(good(), { alg: 'RS256', kid: 'rsa-2' }, rotatedRsa.privateKey),
    ],
    ['a token without kid, by trying', () => sign(good(), { alg: 'RS256' }, rotatedRsa.privateKey)],
    ['ES256', () => sign(good(), { alg: 'ES256', kid: 'ec-1' }, ec.privateKey)],
    ['EdDSA', () => sign(good(), { alg: 'EdDSA', kid: 'ed-1' }, ed.privateKey)],
    ['exp within the tolerance', () => signRsa(good({ exp: NOW_SECONDS - 4 }))],
    ['nbf within the tolerance', () => signRsa(good({ nbf: NOW_SECONDS + 4 }))],
    ['an audience among several', () => signRsa(good({ aud: ['other', AUDIENCE] }))],
    ['typ at+jwt', () => signRsa(good(), { typ: 'at+jwt' })],
    ['a fractional exp', () => signRsa(good({ exp: NOW_SECONDS + 0.5 }))],
    [
      'jku, x5u and jwk in the header, unread',
      () =>
        signRsa(good(), {
          jku: 'https://evil.example',
          x5u: 'https://evil.example',
          jwk: strangeRsa.publicJwk,
        }),
    ],
    ['one of several issuers', () => signRsa(), { issuer: ['https://other.example', ISSUER] }],
    ['one of several audiences', () => signRsa(), { audience: ['other', AUDIENCE] }],
  ]
  test.each(rows)('%s', async (_name, make, overrides) => {
    expect(await explain(await make(), overrides)).toMatchObject({
      isAccepted: true,
      context: { userId: 'user-1' },
    })
  })

  test('each in less than 5 ms', async () => {
    const timesMs: number[] = []
    for (const [, make, overrides] of rows) timesMs.push(await verdictMs(await make(), overrides))
    reportFigures('tokens that are good', { tokens: rows.length, 'ms of CPU at most': Math.max(...timesMs) })
    expect(Math.max(...timesMs)).toBeLessThan(MAX_VERDICT_MS)
  })

  test('HMAC with any of several secrets', async () => {
    const secrets = { secret: [`${SECRET} new`, SECRET] }
    const { keys: _keys, ...hmac } = config
    const provider = await createAuthProvider(
      { mode: 'jwt', jwt: { ...hmac, ...secrets } },
      { runtime: fixedRuntime(), logger: silentLogger },
    )
    for (const secret of secrets.secret) {
      const token = await sign(good(), { alg: 'HS256' }, secretBytes(secret))
      expect(await provider.authenticate(token)).toMatchObject({ userId: 'user-1' })
    }
    const token = await sign(good(), { alg: 'HS256' }, secretBytes(`${SECRET} old`))
    expect(await provider.authenticate(token)).toBeNull()
  })

  test('another claim as user id, by path and as a number', async () => {
    const byPath = await explain(await signRsa(good({ user: { id: 'u-7' } })), { userIdClaim: 'user.id' })
    expect(byPath).toMatchObject({ context: { userId: 'u-7' } })
    const byNumber = await explain(await signRsa(good({ uid: 7 })), { userIdClaim: 'uid' })
    expect(byNumber).toMatchObject({ context: { userId: '7' } })
    const byUrl = await explain(await signRsa(good({ 'https://example.com/id': 'u-8' })), {
      userIdClaim: 'https://example.com/id',
    })
    expect(byUrl).toMatchObject({ context: { userId: 'u-8' } })
  })

  test('and tells device and times in ms', async () => {
    const verdict = await explain(await signRsa(good({ dev: 'device-1' })))
    expect(verdict).toMatchObject({
      context: {
        userId: 'user-1',
        deviceId: 'device-1',
        issuedAt: (NOW_SECONDS - 10) * 1000,
        expiresAt: (NOW_SECONDS + 900) * 1000,
      },
    })
  })

  test('and ends with the token, or within the tolerance when that is not taken any more', async () => {
    const late = await explain(await signRsa(good({ exp: NOW_SECONDS - 2 })))
    expect(late).toMatchObject({ context: { expiresAt: (NOW_SECONDS + 3) * 1000 } })
  })

  test('an absurd exp as the last instant that a Date can hold', async () => {
    const verdict = await explain(await signRsa(good({ exp: 1e300 })))
    expect(verdict).toMatchObject({ context: { expiresAt: 8_640_000_000_000_000 } })
  })
})

describe('refuses', () => {
  type Row = readonly [name: string, reason: TokenRefusalReason, make: () => string | Promise<string>]
  const rows: readonly Row[] = [
    ['no token', 'TOKEN_MISSING', () => ''],
    ['a token over 8 KB', 'TOKEN_TOO_LONG', () => signRsa(good({ filler: 'x'.repeat(8192) }))],
    ['a token of 64 KB', 'TOKEN_TOO_LONG', () => 'x'.repeat(65_536)],
    ['text that is no token', 'TOKEN_MALFORMED', () => 'hello'],
    ['two segments', 'TOKEN_MALFORMED', async () => (await signRsa()).split('.').slice(0, 2).join('.')],
    ['four segments', 'TOKEN_MALFORMED', async () => `${await signRsa()}.x`],
    [
      'an encrypted token',
      'TOKEN_MALFORMED',
      () =>
        new EncryptJWT(good()).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(new Uint8Array(32)),
    ],
    ['a header that is no JSON', 'TOKEN_MALFORMED', () => `${encode('{')}.${encode(good())}.AA`],
    ['a header that is a list', 'TOKEN_MALFORMED', () => `${encode([])}.${encode(good())}.AA`],
    ['a header without alg', 'TOKEN_MALFORMED', () => unsigned({ kid: 'rsa-1' })],
    ['alg as a list', 'TOKEN_MALFORMED', () => unsigned({ alg: ['RS256'], kid: 'rsa-1' })],
    ['kid as a number', 'TOKEN_MALFORMED', () => unsigned({ alg: 'RS256', kid: 1 })],
    ['kid as an object', 'TOKEN_MALFORMED', () => unsigned({ alg: 'RS256', kid: { a: 1 } })],
    ['alg none', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: 'none', kid: 'rsa-1' })],
    ['alg None', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: 'None', kid: 'rsa-1' })],
    ['alg nOnE without kid', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: 'nOnE' })],
    ['alg empty', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: '', kid: 'rsa-1' })],
    ['alg rs256 in lower case', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: 'rs256', kid: 'rsa-1' })],
    ['alg __proto__', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: '__proto__', kid: 'rsa-1' })],
    [
      'HS256 with the public key as secret',
      'ALGORITHM_NOT_ALLOWED',
      () => signWithPublicKeyAsSecret({ alg: 'HS256', kid: 'rsa-1' }),
    ],
    ['the same without kid', 'ALGORITHM_NOT_ALLOWED', () => signWithPublicKeyAsSecret({ alg: 'HS256' })],
    [
      'HS512 named, same attack',
      'ALGORITHM_NOT_ALLOWED',
      () => signWithPublicKeyAsSecret({ alg: 'HS512', kid: 'rsa-1' }),
    ],
    ['PS256 with a key for RS256', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: 'PS256', kid: 'rsa-1' })],
    ['RS512 with a key for RS256', 'ALGORITHM_NOT_ALLOWED', () => unsigned({ alg: 'RS512', kid: 'rsa-1' })],
    [
      'ES256 named with an RSA kid',
      'ALGORITHM_NOT_ALLOWED',
      () => sign(good(), { alg: 'ES256', kid: 'rsa-1' }, ec.privateKey),
    ],
    ['a kid nobody has', 'KEY_UNKNOWN', () => signRsa(good(), { kid: 'rsa-3' })],
    ['kid as a path', 'KEY_UNKNOWN', () => signRsa(good(), { kid: '../../../../dev/null' })],
    ['kid as a URL', 'KEY_UNKNOWN', () => signRsa(good(), { kid: 'https://evil.example/key.pem' })],
    ['kid as SQL', 'KEY_UNKNOWN', () => signRsa(good(), { kid: "x' UNION SELECT 'AAAA" })],
    ['kid __proto__', 'KEY_UNKNOWN', () => signRsa(good(), { kid: '__proto__' })],
    ['kid empty', 'KEY_UNKNOWN', () => signRsa(good(), { kid: '' })],
    ['the kid of another key', 'SIGNATURE_INVALID', () => signRsa(good(), { kid: 'rsa-2' })],
    [
      'a strange key under a known kid',
      'SIGNATURE_INVALID',
      () => sign(good(), { alg: 'RS256', kid: 'rsa-1' }, strangeRsa.privateKey),
    ],
    [
      'a strange key without kid',
      'SIGNATURE_INVALID',
      () => sign(good(), { alg: 'RS256' }, strangeRsa.privateKey),
    ],
    [
      'a strange key that brings itself as jwk',
      'SIGNATURE_INVALID',
      () => sign(good(), { alg: 'RS256', kid: 'rsa-1', jwk: strangeRsa.publicJwk }, strangeRsa.privateKey),
    ],
    [
      'a changed payload',
      'SIGNATURE_INVALID',
      async () => {
        const [header, , signature] = (await signRsa()).split('.')
        return `${header}.${encode(good({ sub: 'user-2' }))}.${signature}`
      },
    ],
    [
      'a changed header',
      'SIGNATURE_INVALID',
      async () => {
        const [, payload, signature] = (await signRsa()).split('.')
        return `${encode({ alg: 'RS256', kid: 'rsa-1', x: 1 })}.${payload}.${signature}`
      },
    ],
    ['a signature cut short', 'SIGNATURE_INVALID', async () => (await signRsa()).slice(0, -8)],
    [
      'a signature with other spare bits',
      'SIGNATURE_INVALID',
      async () => withOtherSpareBits(await signRsa()),
    ],
    ['a signature with padding', 'SIGNATURE_INVALID', async () => `${await signRsa()}==`],
    ['a signature with a blank', 'SIGNATURE_INVALID', async () => `${await signRsa()} `],
    [
      'no signature',
      'SIGNATURE_INVALID',
      async () => `${(await signRsa()).split('.').slice(0, 2).join('.')}.`,
    ],
    [
      'an unknown crit',
      'HEADER_UNSUPPORTED',
      () => {
        const header = { alg: 'RS256', kid: 'rsa-1', crit: ['exp2'], exp2: 1 }
        return unsigned(header)
      },
    ],
    ['an empty crit', 'TOKEN_MALFORMED', () => unsigned({ alg: 'RS256', kid: 'rsa-1', crit: [] })],
    [
      'b64: false',
      'TOKEN_MALFORMED',
      async () => {
        const { FlattenedSign } = await import('jose')
        const jws = await new FlattenedSign(Buffer.from(encode(good())))
          .setProtectedHeader({ alg: 'RS256', kid: 'rsa-1', b64: false, crit: ['b64'] })
          .sign(rsa.privateKey)
        return `${jws.protected}.${encode(good())}.${jws.signature}`
      },
    ],
    ['a payload that is no JSON', 'TOKEN_MALFORMED', () => signRawPayload('hello')],
    ['a payload that is a list', 'TOKEN_MALFORMED', () => signRawPayload('[]')],
    ['a payload that is null', 'TOKEN_MALFORMED', () => signRawPayload('null')],
    ['an expired token', 'TOKEN_EXPIRED', () => signRsa(good({ exp: NOW_SECONDS - 6 }))],
    ['exp 0', 'TOKEN_EXPIRED', () => signRsa(good({ exp: 0 }))],
    ['a negative exp', 'TOKEN_EXPIRED', () => signRsa(good({ exp: -1 }))],
    ['no exp', 'CLAIM_MISSING', () => signRsa(good({ exp: undefined }))],
    ['exp as text', 'CLAIM_INVALID', () => signRsa(good({ exp: String(NOW_SECONDS + 900) }))],
    ['exp null', 'CLAIM_INVALID', () => signRsa(good({ exp: null }))],
    ['exp as a list', 'CLAIM_INVALID', () => signRsa(good({ exp: [NOW_SECONDS + 900] }))],
    [
      'exp beyond all numbers',
      'CLAIM_INVALID',
      () => signRawPayload(`{"sub":"user-1","iss":"${ISSUER}","aud":"${AUDIENCE}","exp":1e999}`),
    ],
    ['a future nbf', 'TOKEN_NOT_YET_VALID', () => signRsa(good({ nbf: NOW_SECONDS + 60 }))],
    ['nbf as text', 'CLAIM_INVALID', () => signRsa(good({ nbf: 'now' }))],
    ['another issuer', 'ISSUER_MISMATCH', () => signRsa(good({ iss: 'https://evil.example' }))],
    ['the issuer with a slash', 'ISSUER_MISMATCH', () => signRsa(good({ iss: `${ISSUER}/` }))],
    ['the issuer in a list', 'ISSUER_MISMATCH', () => signRsa(good({ iss: [ISSUER] }))],
    ['no issuer', 'CLAIM_MISSING', () => signRsa(good({ iss: undefined }))],
    ['another audience', 'AUDIENCE_MISMATCH', () => signRsa(good({ aud: 'other' }))],
    ['an audience in other case', 'AUDIENCE_MISMATCH', () => signRsa(good({ aud: 'SYNC' }))],
    ['an empty list of audiences', 'AUDIENCE_MISMATCH', () => signRsa(good({ aud: [] }))],
    ['an audience that is an object', 'AUDIENCE_MISMATCH', () => signRsa(good({ aud: { sync: true } }))],
    ['no audience', 'CLAIM_MISSING', () => signRsa(good({ aud: undefined }))],
    ['no sub', 'CLAIM_MISSING', () => signRsa(good({ sub: undefined }))],
    ['an empty sub', 'CLAIM_INVALID', () => signRsa(good({ sub: '' }))],
    ['sub as a list', 'CLAIM_INVALID', () => signRsa(good({ sub: ['user-1'] }))],
    ['sub as a number', 'CLAIM_INVALID', () => signRsa(good({ sub: 1 }))],
    ['sub null', 'CLAIM_INVALID', () => signRsa(good({ sub: null }))],
    ['sub as an object', 'CLAIM_INVALID', () => signRsa(good({ sub: { toString: 'user-1' } }))],
    ['sub with a zero byte', 'CLAIM_INVALID', () => signRsa(good({ sub: 'user-1\u0000' }))],
    ['sub with a line break', 'CLAIM_INVALID', () => signRsa(good({ sub: 'user-1\nadmin' }))],
    [
      'sub with half a character',
      'CLAIM_INVALID',
      () =>
        signRawPayload(`{"sub":"\\ud800","iss":"${ISSUER}","aud":"${AUDIENCE}","exp":${NOW_SECONDS + 9}}`),
    ],
  ]
  test.each(rows)('%s: %s', async (_name, reason, make) => {
    const token = await make()
    const verdict = await explain(token)
    expect(verdict).toMatchObject({ isAccepted: false, reason })
    expect(token !== '' && JSON.stringify(verdict).includes(token)).toBe(false)
  })

  test('each in less than 5 ms', async () => {
    const timesMs: number[] = []
    for (const [, , make] of rows) timesMs.push(await verdictMs(await make()))
    reportFigures('tokens that are bad', { tokens: rows.length, 'ms of CPU at most': Math.max(...timesMs) })
    expect(Math.max(...timesMs)).toBeLessThan(MAX_VERDICT_MS)
  })

  test('duplicate claims are read as the last one, as the signer of the token meant no other', async () => {
    const times = `"iss":"${ISSUER}","aud":"${AUDIENCE}","exp":${NOW_SECONDS + 9}`
    const verdict = await explain(await signRawPayload(`{"sub":"user-1","sub":"user-2",${times}}`))
    expect(verdict).toMatchObject({ isAccepted: true, context: { userId: 'user-2' } })
  })

  test('a user id that only the prototype has', async () => {
    for (const userIdClaim of ['constructor', 'toString', '__proto__', 'constructor.name', 'sub.length']) {
      expect(await explain(await signRsa(), { userIdClaim })).toMatchObject({ reason: 'CLAIM_MISSING' })
    }
  })

  test('an HMAC token whose secret is a public key, when secrets are configured beside it', async () => {
    const provider = createAuthProvider(
      {
        mode: 'jwt',
        jwt: { secret: publicPem(rsa.publicJwk), clockToleranceMs: 0, userIdClaim: 'sub' },
      },
      { runtime: fixedRuntime(), logger: silentLogger },
    )
    await expect(provider).rejects.toThrow('auth.jwt.secret: it is a PEM key, not a secret: put it into keys')
  })
})

function publicPem(jwk: JWK): string {
  return createPublicKey({ key: { ...jwk }, format: 'jwk' })
    .export({ type: 'spki', format: 'pem' })
    .toString()
}
