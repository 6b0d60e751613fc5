import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { JWK } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createAuthProvider } from '../../src/auth/create-auth-provider.ts'
import { explainToken } from '../../src/auth/explaining-provider.ts'
import { jwksUrlProblem } from '../../src/auth/jwks-client.ts'
import {
  claims,
  fixedRuntime,
  makeKey,
  NOW_SECONDS,
  recordingLogger,
  sign,
  type TestKey,
} from '../support/tokens.ts'

const runFile = promisify(execFile)

let first: TestKey
let second: TestKey

beforeAll(async () => {
  ;[first, second] = await Promise.all([makeKey('ES256', 'first'), makeKey('ES256', 'second')])
})

/** An issuer on a loopback port, whose answer a test sets. */
class Issuer {
  requests = 0
  answer: RequestListener = (_request, response) => response.writeHead(500).end()
  #server: Server | undefined

  async open(): Promise<string> {
    this.#server = createServer((request, response) => {
      this.requests += 1
      this.answer(request, response)
    })
    return `http://127.0.0.1:${await listen(this.#server)}/jwks.json`
  }

  publish(...keys: readonly (JWK | object)[]): void {
    this.answer = (_request, response) => response.end(JSON.stringify({ keys }))
  }

  async close(): Promise<void> {
    this.#server?.closeAllConnections()
    await new Promise((resolve) => this.#server?.close(resolve))
  }
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  )
}

let issuer: Issuer
let url: string
let runtime: ReturnType<typeof fixedRuntime>
let logger: ReturnType<typeof recordingLogger>

beforeEach(async () => {
  issuer = new Issuer()
  url = await issuer.open()
  runtime = fixedRuntime()
  logger = recordingLogger()
  return () => issuer.close()
})

/** Lets no connection of this process leave the machine, and notes where it would have gone. */
function keepIn(): { readonly hosts: readonly string[] } & Disposable {
  const hosts: string[] = []
  const { connect } = Socket.prototype
  const spy = vi.spyOn(Socket.prototype, 'connect').mockImplementation(function (this: Socket, ...args) {
    const [options] = [args[0]].flat() as unknown as [{ readonly host?: string }] // as `net.connect` and `tls.connect` pass them
    const { host = '' } = options
    if (host === '127.0.0.1') return connect.apply(this, args)
    hosts.push(host)
    return this.destroy(new Error('kept in'))
  })
  return { hosts, [Symbol.dispose]: () => spy.mockRestore() }
}

function provide(algorithms?: readonly string[]) {
  const jwt = { jwksUrl: url, clockToleranceMs: 0, userIdClaim: 'sub', ...(algorithms && { algorithms }) }
  return createAuthProvider({ mode: 'jwt', jwt }, { runtime, logger })
}

function tokenOf(key: TestKey, kid = key.publicJwk.kid): Promise<string> {
  const payload = claims({ exp: NOW_SECONDS + 100_000 })
  return sign(payload, { alg: 'ES256', ...(kid !== undefined && { kid }) }, key.privateKey)
}

describe('a JWKS', () => {
  test('is fetched at the start, once', async () => {
    issuer.publish(first.publicJwk)
    const provider = await provide()

    expect(issuer.requests).toBe(1)
    expect(await provider.authenticate(await tokenOf(first))).toMatchObject({ userId: 'user-1' })
    expect(issuer.requests).toBe(1)
  })

  test('that rotates works with the first token of the new key', async () => {
    issuer.publish(first.publicJwk)
    const provider = await provide()
    issuer.publish(first.publicJwk, second.publicJwk)

    expect(await provider.authenticate(await tokenOf(second))).not.toBeNull()
    expect(issuer.requests).toBe(2)
  })

  test('is not fetched more than twice in 30 s for a thousand tokens with invented kids', async () => {
    issuer.publish(first.publicJwk)
    const provider = await provide()
    for (let index = 0; index < 1000; index++) {
      runtime.nowMs += 30 // 30 s in all
      const verdict = await explainToken(provider, await tokenOf(first, `invented-${index}`))
      expect(verdict).toMatchObject({ reason: index === 0 ? 'KEY_UNKNOWN' : 'KEY_UNCONFIRMED' })
    }
    expect(issuer.requests).toBe(2) // one at the start, one for the first of them
    expect(await provider.authenticate(await tokenOf(first))).not.toBeNull()
  })

  test('is fetched once for tokens that come at the same time', async () => {
    issuer.publish(first.publicJwk)
    const provider = await provide()
    issuer.publish(second.publicJwk)
    const tokens = await Promise.all(Array.from({ length: 50 }, () => tokenOf(second)))

    const contexts = await Promise.all(tokens.map((token) => provider.authenticate(token)))

    expect(contexts).not.toContain(null)
    expect(issuer.requests).toBe(2)
  })

  test('serves on while the issuer is down, however long', async () => {
    issuer.publish(first.publicJwk)
    const provider = await provide()
    await issuer.close()
    for (const hours of [1, 24]) {
      runtime.nowMs += hours * 3_600_000
      expect(await explainToken(provider, await tokenOf(first))).toMatchObject({ isAccepted: true })
    }
    expect(await explainToken(provider, await tokenOf(second))).toMatchObject({ reason: 'KEY_UNCONFIRMED' })
  })

  test('loses a key that the issuer has withdrawn', async () => {
    issuer.publish(first.publicJwk)
    const provider = await provide()
    issuer.publish(second.publicJwk)
    runtime.nowMs += 600_000
    await provider.authenticate(await tokenOf(first)) // served with what is there; starts the fetch

    await expect.poll(async () => provider.authenticate(await tokenOf(first))).toBeNull()
  })

  test('lets no withdrawn key in when it was last fetched long ago, because nobody came', async () => {
    issuer.publish(first.publicJwk)
    const provider = await provide()
    issuer.publish(second.publicJwk)
    runtime.nowMs += 3_600_000
    const tokens = await Promise.all(Array.from({ length: 5 }, () => tokenOf(first)))

    const contexts = await Promise.all(tokens.map((token) => provider.authenticate(token)))

    expect(contexts).toEqual([null, null, null, null, null])
    expect(issuer.requests).toBe(2)
  })

  test('that could not be fetched at the start is fetched with the first token after', async () => {
    const provider = await provide()
    expect(logger.lines).toEqual([
      {
        level: 'warn',
        message: 'JWKS could not be fetched',
        fields: { url, reason: 'the server answered 500', hasKeys: false },
      },
    ])
    expect(await explainToken(provider, await tokenOf(first))).toMatchObject({ reason: 'KEYS_UNAVAILABLE' })
    issuer.publish(first.publicJwk)
    expect(await explainToken(provider, await tokenOf(first))).toMatchObject({ reason: 'KEYS_UNAVAILABLE' })
    runtime.nowMs += 10_000
    expect(await provider.authenticate(await tokenOf(first))).not.toBeNull()
    expect(issuer.requests).toBe(3)
  })

  describe('where visitors are let in, and so is who has an invalid token', () => {
    const anonymous = { scopes: { news: {} }, prefix: 'anon' }
    const openDoor = () => {
      const jwt = { jwksUrl: url, clockToleranceMs: 0, userIdClaim: 'sub' }
      return createAuthProvider(
        { mode: 'mixed', jwt, anonymous, invalidToken: 'anonymous' },
        { runtime, logger },
      )
    }

    test('makes no visitor of the owner of a new key while the issuer is down', async () => {
      issuer.publish(first.publicJwk)
      const provider = await openDoor()
      issuer.answer = (_request, response) => response.writeHead(503).end()
      const token = await tokenOf(second)

      expect(await explainToken(provider, token)).toMatchObject({ reason: 'KEY_UNCONFIRMED' })
      runtime.nowMs += 1000
      expect(await provider.authenticate(token)).toBeNull()
      issuer.publish(second.publicJwk)
      runtime.nowMs += 30_000

      expect(await provider.authenticate(token)).toMatchObject({ userId: 'user-1' })
    })

    test('makes none of them while a stranger with an invented kid keeps it from being fetched', async () => {
      issuer.publish(first.publicJwk)
      const provider = await openDoor()
      const token = await tokenOf(second)
      const guessed = await sign(claims(), { alg: 'ES256', kid: 'second' }, first.privateKey) // of a kid that is yet to be used
      expect(await provider.authenticate(guessed)).toMatchObject({ isAnonymous: true })
      issuer.publish(first.publicJwk, second.publicJwk)

      expect(await explainToken(provider, token)).toMatchObject({ reason: 'KEY_UNCONFIRMED' })
      expect(issuer.requests).toBe(2)
      runtime.nowMs += 30_000

      expect(await provider.authenticate(token)).toMatchObject({ userId: 'user-1' })
    })

    test('makes one of who has a token of no key once it has been fetched after that came, also in a flood', async () => {
      issuer.publish(first.publicJwk)
      const provider = await openDoor()
      const invent = async (count: number) => {
        for (let index = 0; index < count; index++)
          await provider.authenticate(await tokenOf(first, `invented-${index}`))
      }
      const stale = await tokenOf(second)
      await invent(1)
      expect(await provider.authenticate(stale)).toBeNull()
      await invent(50)
      runtime.nowMs += 30_000
      await invent(1) // has it fetched

      expect(await provider.authenticate(stale)).toMatchObject({ isAnonymous: true })
      issuer.answer = (_request, response) => response.writeHead(503).end()
      runtime.nowMs += 3_600_000
      expect(await provider.authenticate(stale)).toMatchObject({ isAnonymous: true })
    })
  })

  test('with several keys verifies a token without kid', async () => {
    issuer.publish(first.publicJwk, second.publicJwk)
    const { kid: _kid, ...header } = { kid: undefined, alg: 'ES256' }
    const token = await sign(claims(), header, second.privateKey)
    expect(await (await provide()).authenticate(token)).not.toBeNull()
  })
})

describe('an answer is not used that', () => {
  const rows: readonly [name: string, reason: string, answer: RequestListener][] = [
    ['is an error', 'the server answered 404', (_, response) => response.writeHead(404).end('{"keys":[]}')],
    ['is no JSON', 'the answer is no JWKS', (_, response) => response.end('<html>')],
    ['has no keys', 'the answer is no JWKS', (_, response) => response.end('{}')],
    [
      'has none that verifies',
      'the answer holds no key that can be used',
      (_, response) =>
        response.end(
          JSON.stringify({
            keys: [null, 'x', {}, { kty: 'EC', crv: 'P-256' }, { kty: 'oct', k: 'A'.repeat(64) }],
          }),
        ),
    ],
    [
      'is larger than 256 KB',
      'the answer is larger than 262144 bytes',
      (_, response) => response.end('x'.repeat(300_000)),
    ],
    [
      'never ends',
      'the answer is larger than 262144 bytes',
      (_, response) => {
        const timer = setInterval(() => response.write('x'.repeat(65_536)), 1)
        response.on('close', () => clearInterval(timer))
      },
    ],
  ]
  test.each(rows)('%s', async (_name, reason, answer) => {
    issuer.answer = answer
    await provide()
    expect(logger.lines.map(({ fields }) => fields.reason)).toEqual([reason])
  })

  test('does not come within 5 s', async () => {
    issuer.answer = () => {}
    await provide()
    expect(logger.lines.map(({ fields }) => fields.reason)).toEqual(['no answer within 5 s'])
  })

  test.each([
    'http://169.254.169.254/',
    'https://169.254.169.254/',
    'http://[fe80::1]/',
    'http://[::ffff:169.254.169.254]/',
    '//169.254.169.254/',
    'file:///etc/passwd',
  ])('is a redirect to %s; it is refused before anything is asked', async (location) => {
    using network = keepIn()
    const statuses = [301, 302, 303, 307, 308]
    for (const status of statuses) {
      issuer.answer = (_, response) => response.writeHead(status, { location }).end()
      await provide()
    }

    expect(network.hosts).toEqual([])
    const reasons = logger.lines.map(({ fields }) => fields.reason)
    expect(reasons).toEqual(statuses.map(() => 'unexpected redirect'))
    expect(issuer.requests).toBe(statuses.length)
  })

  test('is a redirect; its target hears nothing', async () => {
    const target = new Issuer()
    const targetUrl = await target.open()
    target.publish(first.publicJwk)
    issuer.answer = (_, response) => response.writeHead(302, { location: targetUrl }).end()
    const provider = await provide()

    expect(await explainToken(provider, await tokenOf(first))).toMatchObject({ reason: 'KEYS_UNAVAILABLE' })
    expect(target.requests).toBe(0)
    await target.close()
  })
})

test('shared secrets and keys for encryption in a JWKS verify nothing', async () => {
  const secret = Buffer.alloc(32, 'x')
  issuer.publish(
    first.publicJwk,
    { kty: 'oct', kid: 'oct', alg: 'HS256', k: secret.toString('base64url') },
    { ...second.publicJwk, use: 'enc' },
  )
  const provider = await provide()
  const hmac = await sign(claims(), { alg: 'HS256', kid: 'oct' }, new Uint8Array(secret))

  expect(await explainToken(provider, hmac)).toMatchObject({ reason: 'KEY_UNKNOWN' })
  runtime.nowMs += 30_000 // until which nothing is fetched
  expect(await explainToken(provider, await tokenOf(second))).toMatchObject({ reason: 'KEY_UNKNOWN' })
})

test('algorithms narrows what the keys of a JWKS imply', async () => {
  issuer.publish(first.publicJwk)
  await provide(['RS256'])
  expect(logger.lines.map(({ fields }) => fields.reason)).toEqual([
    'the answer holds no key that can be used',
  ])
})

test.each([
  ['https://auth.example.com/jwks', null],
  ['http://127.0.0.1:8080/jwks', null],
  ['http://localhost/jwks', null],
  ['http://[::1]:8080/jwks', null],
  ['http://auth.example.com/jwks', 'must start with https:// (http:// only for a loopback address)'],
  ['http://127.0.0.1.example.com/jwks', 'must start with https:// (http:// only for a loopback address)'],
  ['http://169.254.169.254/', 'must start with https:// (http:// only for a loopback address)'],
  ['file:///etc/passwd', 'must start with https:// (http:// only for a loopback address)'],
  ['https://user:password@auth.example.com/', 'must not hold a user name or password'],
  ['jwks.json', 'is not a URL'],
])('%s: %s', (text, problem) => {
  expect(jwksUrlProblem(text)).toBe(problem)
})

describe('over https', () => {
  let folder: string
  let server: ReturnType<typeof createHttpsServer>
  let port: number

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kora-jwks-'))
    const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    await runFile('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'],
      ...['-addext', 'subjectAltName=DNS:localhost', '-keyout', keyFile, '-out', certFile],
    ])
    server = createHttpsServer(
      { key: await readFile(keyFile), cert: await readFile(certFile) },
      (_request, response) => response.end(JSON.stringify({ keys: [first.publicJwk] })),
    )
    port = await listen(server)
  })

  afterAll(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await rm(folder, { recursive: true })
  })

  /** The trusted certificates of a process are those it was started with. */
  async function fetchInProcess(env: NodeJS.ProcessEnv): Promise<string> {
    const script = join(folder, 'fetch.mts')
    const client = new URL('../../src/auth/jwks-client.ts', import.meta.url).href
    const log = new URL('../../src/core/logger.ts', import.meta.url).href
    await writeFile(
      script,
      `import { JwksClient } from '${client}'
       import { silentLogger } from '${log}'
       const runtime = { monotonicNow: () => performance.now() }
       const url = 'https://localhost:${port}/jwks.json'
       console.log(await new JwksClient({ url, runtime, logger: silentLogger }).refresh())`,
    )
    const root = new URL('../../', import.meta.url)
    const { stdout } = await runFile(process.execPath, ['--import', 'tsx', script], {
      cwd: root,
      env: { ...process.env, ...env },
    })
    return stdout.trim()
  }

  test('a certificate that is trusted is needed', async () => {
    expect(await fetchInProcess({ NODE_EXTRA_CA_CERTS: join(folder, 'cert.pem') })).toBe('null')
    expect(await fetchInProcess({})).toMatch(/self.signed certificate/)
  })
})
