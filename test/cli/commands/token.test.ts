import { generateKeyPairSync } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Workspace } from '../../support/terminal.ts'

const SECRET = 'a secret of at least thirty-two characters'
const HOUR = 3600

afterEach(() => void vi.unstubAllEnvs())

function workspaceWith(auth: object, files: { readonly [name: string]: string } = {}): Workspace {
  return new Workspace({ files: { 'kora.config.json': JSON.stringify({ auth }), ...files } })
}

async function sign(workspace: Workspace, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await workspace.run(['token', ...args])
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('Signed with') })
  return stdout.trim()
}

describe('token', () => {
  test('signs with the secret, for the configured issuer and audience', async () => {
    using workspace = workspaceWith({
      mode: 'jwt',
      jwt: { secret: SECRET, issuer: 'https://issuer.test', audience: ['app', 'other'] },
    })

    const token = await sign(
      workspace,
      '--sub',
      'user-1',
      '--claim',
      'org=acme',
      '--claim',
      'roles:=["admin"]',
    )

    const { payload, protectedHeader } = await jwtVerify(token, new TextEncoder().encode(SECRET))
    expect(protectedHeader).toEqual({ alg: 'HS256', typ: 'JWT' })
    expect(payload).toMatchObject({
      sub: 'user-1',
      iss: 'https://issuer.test',
      aud: 'app',
      org: 'acme',
      roles: ['admin'],
    })
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(HOUR)
  })

  test('signs with the newest of several secrets', async () => {
    using workspace = workspaceWith({ mode: 'jwt', jwt: { secret: [SECRET, `old ${SECRET}`] } })

    const token = await sign(workspace, '--expires', '7d')

    const { payload } = await jwtVerify(token, new TextEncoder().encode(SECRET))
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(7 * 24 * HOUR)
  })

  test('signs with a private key in a file, under its kid', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    using workspace = workspaceWith(
      {
        mode: 'jwt',
        jwt: {
          keys: [
            { kid: 'public', alg: 'ES256', jwk: publicKey.export({ format: 'jwk' }) },
            { kid: 'dev', alg: 'ES256', file: 'dev.pem' },
          ],
        },
      },
      { 'dev.pem': privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() },
    )

    const token = await sign(workspace)

    expect(decodeProtectedHeader(token)).toEqual({ alg: 'ES256', kid: 'dev', typ: 'JWT' })
    await jwtVerify(token, publicKey)
  })

  test('makes access tokens of @korajs/auth in kora mode', async () => {
    using workspace = workspaceWith({ mode: 'kora', secret: SECRET })

    const claims = decodeJwt(await sign(workspace, '--sub', 'user-1', '--claim', 'dev=phone'))

    expect(claims).toMatchObject({ sub: 'user-1', dev: 'phone', type: 'access', jti: expect.any(String) })
  })

  test.each([
    ['none', { mode: 'none' }, 'No token can be signed: auth.mode is "none"'],
    ['a JWKS', { mode: 'jwt', jwt: { jwksUrl: 'https://issuer.test/jwks' } }, 'public keys only'],
  ])('says why %s cannot sign', async (_name, auth, message) => {
    using workspace = workspaceWith(auth)

    const run = await workspace.run(['token'])

    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain(message)
  })

  test.each([
    [['--claim', 'org'], '--claim: "org" is not a claim'],
    [['--claim', 'sub=user-2'], '--claim: "sub" is given by --sub. Use that.'],
    [['--claim', 'exp:=5'], '--claim: "exp" is given by --expires. Use that.'],
    [['--sub', ''], 'Write the id of a user: a token without one is refused.'],
    [['--sub', ' '], 'Write the id of a user'],
    [['--claim', 'roles:=admin'], 'not valid JSON: admin'],
    [['--expires', 'soon'], 'Write a duration such as 90s, 15m, 1h or 7d.'],
  ])('refuses %s', async (args, message) => {
    using workspace = workspaceWith({ mode: 'kora', secret: SECRET })

    const run = await workspace.run(['token', ...args])

    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain(message)
  })
})

describe('token inspect', () => {
  const scopes = { todos: { userId: '$claims.sub' }, projects: { orgId: '$claims.org' }, news: {} }

  test('tells user and scopes of a token that is accepted', async () => {
    using workspace = workspaceWith({ mode: 'jwt', jwt: { secret: SECRET }, scopes })
    const token = await sign(workspace, '--sub', 'user-1')

    const { code, stdout, stderr } = await workspace.run(['token', 'inspect', token])

    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'Not looked at: whether it is revoked. See: kora-server revoke --list\n',
    })
    expect(stdout).toMatch(
      /^accepted\nuser {6}user-1\nexpires {3}\S+ \(in .*\)\nscopes {4}todos: userId = "user-1"\n {10}news: all records\n$/,
    )
  })

  test('tells which collections of the schema stay hidden', async () => {
    using workspace = new Workspace({
      files: {
        'kora.config.json': JSON.stringify({
          schema: 'schema.json.mjs',
          auth: { mode: 'kora', secret: SECRET, scopes: { todos: { userId: '$claims.sub' } } },
        }),
        'schema.json.mjs':
          'const field = { kind: "string" }\n' +
          'export default { version: 1, collections: { todos: { fields: { userId: field } }, secrets: { fields: { a: field } } } }\n',
      },
    })
    const token = await sign(workspace, '--sub', 'user-1')

    const { stdout } = await workspace.run(['token', 'inspect', token])

    expect(stdout).toContain('hidden: secrets')
  })

  test('says that nothing limits a token without scopes', async () => {
    using workspace = workspaceWith({ mode: 'jwt', jwt: { secret: SECRET } })
    const token = await sign(workspace)

    const { stdout } = await workspace.run(['token', 'inspect', token])

    expect(stdout).toContain('scopes    everything: no scopes are configured')
  })

  test('gives the reason of a refusal, and exit code 1', async () => {
    using workspace = workspaceWith({ mode: 'jwt', jwt: { secret: SECRET, issuer: 'https://issuer.test' } })
    using stranger = workspaceWith({ mode: 'jwt', jwt: { secret: `other ${SECRET}` } })
    const foreign = await sign(stranger)
    const otherIssuer = await sign(workspace, '--claim', 'iss=https://evil.test')

    expect(await workspace.run(['token', 'inspect', foreign])).toEqual({
      code: 1,
      stdout: 'refused   The signature fits none of the keys. (SIGNATURE_INVALID)\n',
      stderr: '',
    })
    expect((await workspace.run(['token', 'inspect', otherIssuer])).stdout).toContain('ISSUER_MISMATCH')
    expect((await workspace.run(['token', 'inspect', 'nonsense'])).stdout).toContain('TOKEN_MALFORMED')
    const json = await workspace.run(['token', 'inspect', 'nonsense', '--format', 'json'])
    expect(json.code).toBe(1)
    expect(JSON.parse(json.stdout)).toMatchObject({ isAccepted: false, reason: 'TOKEN_MALFORMED' })
  })

  test('prints no part of the token or the secret', async () => {
    using workspace = workspaceWith({ mode: 'jwt', jwt: { secret: SECRET } })
    const token = await sign(workspace)

    const { stdout, stderr } = await workspace.run(['token', 'inspect', token])

    for (const part of token.split('.')) expect(stdout + stderr).not.toContain(part)
    expect(stdout + stderr).not.toContain(SECRET)
  })
})

describe('what is in the .env beside the configuration is in process.env', () => {
  const verdictOn = async (workspace: Workspace, token: string) => {
    const { stdout } = await workspace.run(['token', 'inspect', token, '--format', 'json'])
    return JSON.parse(stdout)
  }

  test('when a function of the configuration runs', async () => {
    vi.stubEnv('KORA_TEST_STAFF', undefined)
    using workspace = new Workspace({
      files: {
        '.env': 'KORA_TEST_STAFF=acme',
        'kora.config.ts': `export default { auth: {
          mode: 'jwt',
          jwt: { secret: '${SECRET}', algorithms: ['HS256'] },
          scopes: (claims) => ({ todos: claims.org === process.env.KORA_TEST_STAFF ? {} : { userId: claims.sub } }),
        } }`,
      },
    })

    const staff = await verdictOn(workspace, await sign(workspace, '--claim', 'org=acme'))
    const stranger = await verdictOn(workspace, await sign(workspace))

    expect(staff.context.scopes).toEqual({ todos: {} })
    expect(stranger.context.scopes).toEqual({ todos: { userId: 'dev-user' } })
  })

  test('when the file of a provider loads, whatever the configuration is written in', async () => {
    vi.stubEnv('KORA_TEST_SESSION', undefined)
    using workspace = new Workspace({
      files: {
        '.env': 'KORA_TEST_SESSION=opaque',
        'kora.config.yaml': 'auth: { mode: custom, provider: ./auth.ts }',
        'auth.ts': `const session = process.env.KORA_TEST_SESSION ?? 'none'
          export default { authenticate: async (token: string) => (token === session ? { userId: 'ada' } : null) }`,
      },
    })

    expect(await verdictOn(workspace, 'opaque')).toMatchObject({
      isAccepted: true,
      context: { userId: 'ada' },
    })
    expect(await verdictOn(workspace, 'none')).toMatchObject({ isAccepted: false })
  })
})
