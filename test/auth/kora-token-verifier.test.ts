import { describe, expect, test } from 'vitest'
import { createAuthProvider } from '../../src/auth/create-auth-provider.ts'
import { explainToken } from '../../src/auth/explaining-provider.ts'
import type { TokenRefusalReason } from '../../src/auth/token-verdict.ts'
import { silentLogger } from '../../src/core/logger.ts'
import {
  fixedRuntime,
  NOW_SECONDS,
  SECRET,
  secretBytes,
  sign,
  withOtherSpareBits,
} from '../support/tokens.ts'
import { loadVectors } from '../support/vectors.ts'

interface JwtVectors {
  readonly cases: readonly {
    readonly name: string
    readonly token: string
    readonly secret: string
    readonly verifiedPayload: { readonly [claim: string]: unknown } | null
  }[]
}

const ISSUED_SECONDS = 1_748_736_000 // iat of the recorded token; it expires 900 s later

function provide(secret: string | readonly string[], nowMs?: number) {
  return createAuthProvider(
    { mode: 'kora', secret, scopes: { todos: { userId: '$claims.sub' } } },
    { runtime: fixedRuntime(nowMs), logger: silentLogger },
  )
}

function koraClaims(overrides: { readonly [claim: string]: unknown } = {}): { [claim: string]: unknown } {
  return {
    jti: 'token-1',
    sub: 'user-1',
    dev: 'device-1',
    type: 'access',
    iat: NOW_SECONDS,
    exp: NOW_SECONDS + 900,
    ...overrides,
  }
}

const HEADER = { alg: 'HS256', typ: 'JWT' }

describe('recorded tokens', () => {
  test.each(loadVectors<JwtVectors>('jwt').cases)('$name', async ({ token, secret, verifiedPayload }) => {
    const provider = await provide(secret, ISSUED_SECONDS * 1000)

    const context = await provider.authenticate(token)

    expect(context).toEqual(
      verifiedPayload && {
        userId: verifiedPayload.sub,
        deviceId: verifiedPayload.dev,
        scopes: { todos: { userId: verifiedPayload.sub } },
        issuedAt: ISSUED_SECONDS * 1000,
        expiresAt: (ISSUED_SECONDS + 900) * 1000,
      },
    )
  })

  test('the valid one is accepted until five seconds after its exp', async () => {
    const [valid] = loadVectors<JwtVectors>('jwt').cases
    if (valid === undefined) throw new Error('no vector')
    const at = (seconds: number) => provide(valid.secret, (ISSUED_SECONDS + seconds) * 1000)

    expect(await (await at(905)).authenticate(valid.token)).not.toBeNull()
    // A session that begins after exp lasts as long as the token is taken.
    const late = await (await at(902)).authenticate(valid.token)
    expect(late?.expiresAt).toBe((ISSUED_SECONDS + 905) * 1000)
    expect(await (await at(905.001)).authenticate(valid.token)).toBeNull()
  })
})

test('any of several secrets may have signed', async () => {
  const provider = await provide([`${SECRET} new`, SECRET])
  for (const secret of [SECRET, `${SECRET} new`]) {
    const token = await sign(koraClaims(), HEADER, secretBytes(secret))
    expect(await provider.authenticate(token)).toMatchObject({ userId: 'user-1' })
  }
  const token = await sign(koraClaims(), HEADER, secretBytes(`${SECRET} other`))
  expect(await provider.authenticate(token)).toBeNull()
})

test('a short secret is refused before anybody connects', async () => {
  await expect(provide('too short')).rejects.toThrow(
    'auth.secret: it has 9 characters; at least 32 are needed',
  )
})

describe('refuses', () => {
  const rows: readonly [claim: string, value: unknown, reason: TokenRefusalReason][] = [
    ['type', 'refresh', 'CLAIM_INVALID'],
    ['type', 'device_credential', 'CLAIM_INVALID'],
    ['type', undefined, 'CLAIM_MISSING'],
    ['jti', undefined, 'CLAIM_MISSING'],
    ['sub', undefined, 'CLAIM_MISSING'],
    ['sub', '', 'CLAIM_INVALID'],
    ['sub', ['user-1'], 'CLAIM_INVALID'],
    ['dev', undefined, 'CLAIM_MISSING'],
    ['dev', 7, 'CLAIM_INVALID'],
    ['iat', undefined, 'CLAIM_MISSING'],
    ['iat', 'now', 'CLAIM_INVALID'],
    ['exp', undefined, 'CLAIM_MISSING'],
    ['exp', String(NOW_SECONDS + 900), 'CLAIM_INVALID'],
    ['exp', NOW_SECONDS - 6, 'TOKEN_EXPIRED'],
  ]
  test.each(rows)('%s = %j', async (claim, value, reason) => {
    const token = await sign(koraClaims({ [claim]: value }), HEADER, secretBytes())
    expect(await explainToken(await provide(SECRET), token)).toMatchObject({ isAccepted: false, reason })
  })

  test('another header, even one that means the same', async () => {
    const provider = await provide(SECRET)
    for (const header of [
      { alg: 'HS256' },
      { ...HEADER, kid: 'x' },
      { typ: 'JWT', alg: 'HS256' },
      { ...HEADER, alg: 'HS512' },
    ]) {
      const token = await sign(koraClaims(), header, secretBytes(`${SECRET}${SECRET}`.slice(0, 64)))
      expect(await explainToken(provider, token)).toMatchObject({ reason: 'HEADER_UNSUPPORTED' })
    }
  })

  test('other texts of a signature that is good', async () => {
    const provider = await provide(SECRET)
    const token = await sign(koraClaims(), HEADER, secretBytes())
    for (const text of [withOtherSpareBits(token), `${token}=`, `${token} `]) {
      expect(await explainToken(provider, text)).toMatchObject({ reason: 'SIGNATURE_INVALID' })
    }
  })

  test('no token, long ones, and text that is none', async () => {
    const provider = await provide(SECRET)
    expect(await explainToken(provider, '')).toMatchObject({ reason: 'TOKEN_MISSING' })
    expect(await explainToken(provider, 'x'.repeat(8193))).toMatchObject({ reason: 'TOKEN_TOO_LONG' })
    expect(await explainToken(provider, 'a.b')).toMatchObject({ reason: 'TOKEN_MALFORMED' })
  })
})
