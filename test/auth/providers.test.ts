import { describe, expect, test } from 'vitest'
import { askProvider } from '../../src/auth/ask-provider.ts'
import { createAuthProvider, scopeFieldsOfAuth } from '../../src/auth/create-auth-provider.ts'
import { explainToken } from '../../src/auth/explaining-provider.ts'
import type { KoraAuthProviderOptions } from '../../src/auth/kora-auth-provider.ts'
import { KoraAuthProvider } from '../../src/auth/kora-auth-provider.ts'
import { MixedAuthProvider } from '../../src/auth/mixed-auth-provider.ts'
import { NoAuthProvider } from '../../src/auth/no-auth-provider.ts'
import type { AuthContext, AuthProvider } from '../../src/auth/provider.ts'
import { TokenAuthProvider } from '../../src/auth/token-auth-provider.ts'
import type { Logger } from '../../src/core/logger.ts'
import { claims, fixedRuntime, recordingLogger, SECRET, secretBytes, sign } from '../support/tokens.ts'

const TOKEN = 'canary-token-7f3a'

test('a program that types its scopes as @korajs/server documents them compiles, and runs', async () => {
  type DocumentedScopes = Record<string, Record<string, unknown>>
  interface DocumentedProvider {
    authenticate(token: string): Promise<{
      userId: string
      scopes?: DocumentedScopes
      metadata?: Record<string, unknown>
    } | null>
  }
  const scopes: DocumentedScopes = { todos: { userId: 'u1' } }
  const primary: DocumentedProvider = { authenticate: async () => ({ userId: 'u1', scopes }) }

  const providers = [
    new MixedAuthProvider({ primary, anonymousScopes: scopes }),
    new TokenAuthProvider({ validate: async (token) => primary.authenticate(token) }),
    new KoraAuthProvider({
      tokenValidator: { validateToken: () => ({ sub: 'u1', dev: 'd1', type: 'access' }) },
      userLookup: { findById: () => ({ email: 'u1@example.com' }) },
      resolveScopes: async () => scopes,
    }),
  ]

  for (const provider of providers) {
    expect(await provider.authenticate(TOKEN)).toMatchObject({ userId: 'u1', scopes })
  }
})

test('NoAuthProvider accepts everyone as one user', async () => {
  expect(await new NoAuthProvider().authenticate('anything')).toMatchObject({ userId: 'anonymous' })
})

describe('TokenAuthProvider', () => {
  test('gives what validate gives', async () => {
    const context = { userId: 'u1', scopes: { todos: { userId: 'u1' } }, metadata: { role: 'admin' } }
    const provider = new TokenAuthProvider({ validate: (token) => (token === 'good' ? context : null) })

    expect(await provider.authenticate('good')).toEqual(context)
    expect(await provider.authenticate('bad')).toBeNull()
  })

  test('refuses when validate throws, says so in the log, and keeps the token out of it', async () => {
    const logger = recordingLogger()
    for (const validate of [
      () => {
        throw new Error(`cannot verify ${TOKEN}`)
      },
      () => Promise.reject(`cannot verify ${TOKEN}`),
    ]) {
      expect(await new TokenAuthProvider({ validate, logger }).authenticate(TOKEN)).toBeNull()
    }
    expect(logger.lines.map(({ level, message }) => [level, message])).toEqual([
      ['error', "the application's authentication code failed"],
      ['error', "the application's authentication code failed"],
    ])
    const errors = logger.lines.map(({ fields }) =>
      fields.err instanceof Error ? fields.err.stack : fields.err,
    )
    expect(errors.join()).toContain('cannot verify ***')
    expect(errors.join()).not.toContain(TOKEN)
  })

  test.each<[string, unknown]>([
    ['a text', 'u1'],
    ['no user id', {}],
    ['an empty user id', { userId: '' }],
    ['a number as user id', { userId: 7 }],
    ['null as scopes, which is not everything', { userId: 'u1', scopes: null }],
    ['a list as scopes', { userId: 'u1', scopes: [] }],
    ['text as a filter', { userId: 'u1', scopes: { todos: 'all' } }],
    ['no number as the time of issue, of a token without iat', { userId: 'u1', issuedAt: Number.NaN }],
    ['text as the time of issue', { userId: 'u1', issuedAt: '2030-01-01T00:00:00Z' }],
    ['text as the end', { userId: 'u1', expiresAt: '2030-01-01T00:00:00Z' }],
    ['no number as the end', { userId: 'u1', expiresAt: Number.NaN }],
    ['a number as device', { userId: 'u1', deviceId: 7 }],
    ['a number for whether it is anonymous', { userId: 'u1', isAnonymous: 1 }],
    ['text for whether it is anonymous', { userId: 'u1', isAnonymous: 'false' }],
  ])('refuses when validate returns %s', async (_name, value) => {
    const logger = recordingLogger()
    const provider = new TokenAuthProvider({ validate: () => value as AuthContext, logger })
    expect(await provider.authenticate(TOKEN)).toBeNull()
    expect(logger.lines).toHaveLength(1)
  })

  test('takes infinity for an end that does not come', async () => {
    const provider = new TokenAuthProvider({
      validate: () => ({ userId: 'u1', expiresAt: Number.POSITIVE_INFINITY }),
    })
    expect(await provider.authenticate(TOKEN)).toEqual({ userId: 'u1' })
  })

  test('without a logger leaves errors, and what is no context, to its caller', async () => {
    const fail = () => Promise.reject(new Error('database away'))
    const misname = () => ({ userId: 7 }) as unknown as AuthContext

    await expect(new TokenAuthProvider({ validate: fail }).authenticate(TOKEN)).rejects.toThrow(
      'database away',
    )
    await expect(new TokenAuthProvider({ validate: misname }).authenticate(TOKEN)).rejects.toMatchObject({
      code: 'AUTH_CONTEXT_INVALID',
      message: 'userId must be a text that is not empty',
    })
  })

  test('hides a collection whose filter has no value', async () => {
    const scopes = { todos: { userId: undefined }, notes: { orgs: ['a', 'b'] }, news: {} }
    const provider = new TokenAuthProvider({
      validate: () => ({ userId: 'u1', scopes }) as unknown as AuthContext,
    })
    expect(await provider.authenticate(TOKEN)).toEqual({ userId: 'u1', scopes: { news: {} } })
  })
})

describe('MixedAuthProvider', () => {
  const primary = new TokenAuthProvider({ validate: (token) => (token === 'good' ? { userId: 'u1' } : null) })
  const anonymousScopes = { news: {} }

  test('serves those without a token under generated ids, in their own scope', async () => {
    const provider = new MixedAuthProvider({ primary, anonymousScopes })
    const [first, second] = [await provider.authenticate(''), await provider.authenticate('')]

    expect(first).toMatchObject({ scopes: { news: {} }, isAnonymous: true })
    expect(first?.userId).toMatch(/^anon-[0-9a-f-]{36}$/)
    expect(second?.userId).not.toBe(first?.userId)
  })

  test('gives a token to primary, and degrades or refuses what primary refuses', async () => {
    const degrading = new MixedAuthProvider({ primary, anonymousScopes, anonymousPrefix: 'guest' })
    const rejecting = new MixedAuthProvider({ primary, anonymousScopes, invalidToken: 'reject' })

    expect(await degrading.authenticate('good')).toEqual({ userId: 'u1' })
    expect((await degrading.authenticate('bad'))?.userId).toMatch(/^guest-/)
    expect(await rejecting.authenticate('bad')).toBeNull()
  })

  test.each(['rejct', 'REJECT', null, true])(
    'lets nobody in by a slip: invalidToken %o is refused',
    (given) => {
      const invalidToken = given as 'reject' // of a program without types

      expect(() => new MixedAuthProvider({ primary, invalidToken })).toThrow(
        expect.objectContaining({
          code: 'CONFIG_INVALID',
          message: `invalidToken: expected 'anonymous' or 'reject', got ${JSON.stringify(given)}`,
        }),
      )
    },
  )

  test('degrades nobody because primary is broken', async () => {
    const logger = recordingLogger()
    const broken = { authenticate: () => Promise.reject(new Error('database away')) }
    const provider = new MixedAuthProvider({ primary: broken, anonymousScopes, logger })

    expect(await provider.authenticate('good')).toBeNull()
    expect(logger.lines).toHaveLength(1)
  })

  const away = () => Promise.reject(new Error('database away'))
  const users = {
    tokenValidator: { validateTokenWithRevocation: away },
    userLookup: { findById: () => null },
  }
  test.each<[string, (logger?: Logger) => AuthProvider]>([
    [
      'a function of the app',
      (logger) => new TokenAuthProvider({ validate: away, ...(logger && { logger }) }),
    ],
    [
      'the user store of @korajs/auth',
      (logger) => new KoraAuthProvider({ ...users, ...(logger && { logger }) }),
    ],
    [
      'a context that is none',
      (logger) => {
        const validate = () => ({ userId: 7 }) as unknown as AuthContext
        return new TokenAuthProvider({ validate, ...(logger && { logger }) })
      },
    ],
    [
      'the primary of its primary',
      (logger) => new MixedAuthProvider({ primary: { authenticate: away }, ...(logger && { logger }) }),
    ],
  ])('degrades nobody because of %s, whoever has logged that', async (_name, primaryOf) => {
    for (const side of ['primary', 'mixed'] as const) {
      const logger = recordingLogger()
      const provider = new MixedAuthProvider({
        primary: primaryOf(side === 'primary' ? logger : undefined),
        anonymousScopes,
        ...(side === 'mixed' && { logger }),
      })

      expect(await explainToken(provider, 'good')).toMatchObject({ reason: 'PROVIDER_FAILED' })
      expect(await provider.authenticate('good')).toBeNull()
      expect(logger.lines.map(({ level }) => level)).toEqual(['error', 'error'])
    }
  })

  test('without a logger leaves errors of primary to its caller', async () => {
    const provider = new MixedAuthProvider({
      primary: new TokenAuthProvider({ validate: away }),
      anonymousScopes,
    })
    await expect(provider.authenticate('good')).rejects.toThrow('database away')
  })

  test('asks what a class of the app makes of a token, not what it has inherited', async () => {
    class WithoutBanned extends TokenAuthProvider {
      override async authenticate(token: string): Promise<AuthContext | null> {
        return token === 'banned' ? null : super.authenticate(token)
      }
    }
    const strict = new WithoutBanned({ validate: (token) => ({ userId: token }) })
    const provider = new MixedAuthProvider({ primary: strict, anonymousScopes })

    expect(await provider.authenticate('u1')).toEqual({ userId: 'u1' })
    expect(await provider.authenticate('banned')).toMatchObject({ isAnonymous: true })
  })

  test('shows nothing to anonymous clients when no scopes are given for them', async () => {
    const provider = new MixedAuthProvider({ primary })
    expect(await provider.authenticate('')).toMatchObject({ scopes: {} })
  })
})

describe('KoraAuthProvider', () => {
  const users = new Map([['u1', { email: 'u1@example.com', name: 'U One' }]])
  const touched: string[] = []
  const options: KoraAuthProviderOptions = {
    tokenValidator: {
      validateToken: (token) => (token === 'good' ? { sub: 'u1', dev: 'd1', type: 'access' } : null),
    },
    userLookup: { findById: async (id) => users.get(id) ?? null },
    deviceTracker: { touchDevice: async (device) => touched.push(device) },
    resolveScopes: async (userId) => ({ todos: { userId } }),
  }

  test('takes null for no tracker, and asks the function that the validator has', async () => {
    const tokenValidator = { ...options.tokenValidator, validateTokenWithRevocation: 5 }
    const given = { ...options, tokenValidator, deviceTracker: null } as unknown as KoraAuthProviderOptions

    expect(await new KoraAuthProvider(given).authenticate('good')).toMatchObject({ userId: 'u1' })
  })

  test('finds the user, marks the device and resolves the scopes', async () => {
    expect(await new KoraAuthProvider(options).authenticate('good')).toEqual({
      userId: 'u1',
      scopes: { todos: { userId: 'u1' } },
      metadata: { deviceId: 'd1', email: 'u1@example.com', name: 'U One' },
      deviceId: 'd1',
    })
    expect(touched).toEqual(['d1'])
  })

  test('prefers the validation that knows revoked tokens', async () => {
    const tokenValidator = { ...options.tokenValidator, validateTokenWithRevocation: async () => null }
    expect(await new KoraAuthProvider({ ...options, tokenValidator }).authenticate('good')).toBeNull()
  })

  test('keeps methods bound to their objects', async () => {
    class Manager {
      readonly type = 'access'
      validateToken() {
        return { sub: 'u1', dev: 'd1', type: this.type }
      }
    }
    const provider = new KoraAuthProvider({ ...options, tokenValidator: new Manager() })
    expect(await provider.authenticate('good')).not.toBeNull()
  })

  test('takes over when the token ends', async () => {
    const tokenValidator = {
      validateToken: () => ({ sub: 'u1', dev: 'd1', type: 'access', exp: 20, iat: 10 }),
    }
    const at = (nowMs: number) =>
      new KoraAuthProvider({ ...options, tokenValidator, runtime: { now: () => nowMs } }).authenticate('good')
    expect(await at(15_000)).toMatchObject({ expiresAt: 20_000, issuedAt: 10_000 })
    expect(await at(22_000)).toMatchObject({ expiresAt: 25_000 })
  })

  test.each<[string, Partial<KoraAuthProviderOptions>]>([
    ['a token that is not valid', { tokenValidator: { validateToken: () => null } }],
    [
      'a refresh token',
      { tokenValidator: { validateToken: () => ({ sub: 'u1', dev: 'd1', type: 'refresh' }) } },
    ],
    ['a user who is gone', { userLookup: { findById: () => null } }],
    ['an empty sub', { tokenValidator: { validateToken: () => ({ sub: '', dev: 'd1', type: 'access' }) } }],
  ])('refuses %s', async (_name, override) => {
    expect(await new KoraAuthProvider({ ...options, ...override }).authenticate('good')).toBeNull()
  })

  const fail = () => {
    throw new Error('broken')
  }
  test.each<[string, Partial<KoraAuthProviderOptions>]>([
    ['tokenValidator throws', { tokenValidator: { validateToken: fail } }],
    ['userLookup throws', { userLookup: { findById: fail } }],
    ['deviceTracker throws', { deviceTracker: { touchDevice: fail } }],
    ['resolveScopes throws', { resolveScopes: fail }],
    ['resolveScopes finds nothing, which is not everything', { resolveScopes: async () => undefined }],
  ])('refuses, and logs, when %s', async (_name, override) => {
    const logger = recordingLogger()
    expect(await new KoraAuthProvider({ ...options, ...override, logger }).authenticate('good')).toBeNull()
    expect(logger.lines.map(({ level }) => level)).toEqual(['error'])
  })
})

const validator = { validateToken: () => null }
const userLookup = { findById: () => null }

test.each<[string, new (options: never) => AuthProvider, unknown]>([
  ['validate: expected a function', TokenAuthProvider, undefined],
  ['validate: expected a function', TokenAuthProvider, {}],
  ['validate: expected a function, got 5', TokenAuthProvider, { validate: 5 }],
  ['primary.authenticate: expected a function', MixedAuthProvider, undefined],
  ['primary.authenticate: expected a function', MixedAuthProvider, { anonymousScopes: {} }],
  [
    'primary.authenticate: expected a function, got null',
    MixedAuthProvider,
    { primary: { authenticate: null } },
  ],
  [
    'tokenValidator.validateToken or tokenValidator.validateTokenWithRevocation: expected a function',
    KoraAuthProvider,
    undefined,
  ],
  [
    'tokenValidator.validateToken or tokenValidator.validateTokenWithRevocation: expected a function',
    KoraAuthProvider,
    { tokenValidator: {}, userLookup },
  ],
  ['userLookup.findById: expected a function', KoraAuthProvider, { tokenValidator: validator }],
  [
    'deviceTracker.touchDevice: expected a function',
    KoraAuthProvider,
    { tokenValidator: validator, userLookup, deviceTracker: {} },
  ],
  [
    'resolveScopes: expected a function, got null',
    KoraAuthProvider,
    { tokenValidator: validator, userLookup, resolveScopes: null },
  ],
])('%s: a provider that cannot ask is refused before anybody comes', (message, Provider, options) => {
  const error = expect.objectContaining({ name: 'ConfigError', code: 'CONFIG_INVALID', message })

  expect(() => new Provider(options as never)).toThrow(error)
})

test.each<[string, AuthProvider]>([
  ['TokenAuthProvider', new TokenAuthProvider({ validate: () => null })],
  [
    'KoraAuthProvider',
    new KoraAuthProvider({
      tokenValidator: { validateToken: () => null },
      userLookup: { findById: () => null },
    }),
  ],
  ['a provider of the application', { authenticate: async () => null }],
])('a token that %s gives null for is refused, with a reason in the log', async (_name, provider) => {
  const logger = recordingLogger()

  expect(await askProvider(provider, TOKEN, logger)).toBe('refused')

  const detail = 'The auth provider refused the token without giving a reason.'
  const fields = { reason: 'REFUSED_BY_PROVIDER', detail }
  expect(logger.lines).toEqual([{ level: 'info', message: 'token refused', fields }])
})

describe('createAuthProvider', () => {
  const runtime = fixedRuntime()
  const jwt = { secret: SECRET, clockToleranceMs: 0, userIdClaim: 'sub' }

  test('mixed: an invalid token is refused or degraded as configured, with the reason for the operator', async () => {
    const logger = recordingLogger()
    const heard = recordingLogger()
    const config = {
      mode: 'mixed',
      jwt,
      scopes: { todos: { userId: '$claims.sub' } },
      anonymous: { scopes: { news: {} }, prefix: 'anon' },
    } as const
    const rejecting = await createAuthProvider({ ...config, invalidToken: 'reject' }, { runtime, logger })
    const degrading = await createAuthProvider({ ...config, invalidToken: 'anonymous' }, { runtime, logger })
    const expired = await sign(claims({ exp: 1 }), { alg: 'HS256' }, secretBytes())

    expect(await rejecting.authenticate(expired)).toBeNull()
    expect(await degrading.authenticate(expired)).toMatchObject({ scopes: { news: {} } })
    expect(await explainToken(rejecting, expired)).toMatchObject({ reason: 'TOKEN_EXPIRED' })
    expect(await explainToken(degrading, expired)).toMatchObject({
      isAccepted: true,
      degradedBy: { reason: 'TOKEN_EXPIRED' },
    })
    expect(await askProvider(rejecting, expired, heard)).toBe('refused')
    expect(await askProvider(degrading, expired, heard)).toMatchObject({ scopes: { news: {} } })
    const fields = { reason: 'TOKEN_EXPIRED', detail: 'The time in exp has passed.' }
    const line = { level: 'info', message: 'token refused', fields }
    expect(heard.lines).toEqual([line, line])
    expect(JSON.stringify([logger.lines, heard.lines])).not.toContain(expired)
  })

  test('mixed: nobody is degraded because keys are away or the scopes function fails', async () => {
    const logger = recordingLogger()
    const config = {
      mode: 'mixed',
      anonymous: { scopes: { news: {} }, prefix: 'anon' },
      invalidToken: 'anonymous',
    } as const
    const scopes = () => {
      throw new Error('broken')
    }
    const jwksUrl = 'http://127.0.0.1:1/jwks.json' // nothing listens there
    const keyless = { ...config, jwt: { jwksUrl, clockToleranceMs: 0, userIdClaim: 'sub' } }
    const token = await sign(claims(), { alg: 'HS256' }, secretBytes())

    for (const [reason, answer, provider] of [
      ['KEYS_UNAVAILABLE', 'unavailable', await createAuthProvider(keyless, { runtime, logger })],
      ['SCOPES_FAILED', 'failed', await createAuthProvider({ ...config, jwt, scopes }, { runtime, logger })],
    ] as const) {
      expect(await provider.authenticate(token)).toBeNull()
      expect(await explainToken(provider, token)).toMatchObject({ isAccepted: false, reason })
      expect(await askProvider(provider, token, logger)).toBe(answer)
      expect(await askProvider(provider, 'nonsense', logger)).not.toBe(answer)
      expect(await provider.authenticate('')).toMatchObject({ scopes: { news: {} } })
    }
  })

  test('a scopes function that throws refuses', async () => {
    const logger = recordingLogger()
    const scopes = () => {
      throw new Error('broken')
    }
    const provider = await createAuthProvider({ mode: 'jwt', jwt, scopes }, { runtime, logger })
    const token = await sign(claims(), { alg: 'HS256' }, secretBytes())

    expect(await provider.authenticate(token)).toBeNull()
    expect(await explainToken(provider, token)).toMatchObject({ reason: 'SCOPES_FAILED' })
    expect(logger.lines.filter(({ level }) => level === 'error')).toHaveLength(2)
  })

  test('custom: errors of the provider are refusals', async () => {
    const logger = recordingLogger()
    const custom = { authenticate: () => Promise.reject(new Error('broken')) }
    const provider = await createAuthProvider({ mode: 'custom', provider: custom }, { runtime, logger })
    expect(await provider.authenticate(TOKEN)).toBeNull()
  })

  test('custom: a file goes through the loader', async () => {
    const loadProvider = async (file: string) => ({ authenticate: async () => ({ userId: file }) })
    const options = { runtime, logger: recordingLogger(), loadProvider }
    const provider = await createAuthProvider({ mode: 'custom', provider: '/app/auth.ts' }, options)
    expect(await provider.authenticate(TOKEN)).toEqual({ userId: '/app/auth.ts' })
  })

  test('tells the fields that scopes decide by', () => {
    const anonymous = { scopes: { todos: { isPublic: true }, news: {} }, prefix: 'anon' }
    const scopes = { todos: { userId: '$claims.sub' } }
    expect(scopeFieldsOfAuth({ mode: 'mixed', jwt, scopes, anonymous, invalidToken: 'reject' })).toEqual({
      todos: ['userId', 'isPublic'],
      news: [],
    })
    expect(scopeFieldsOfAuth({ mode: 'none' })).toEqual({})
  })
})
