import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createAuthProvider } from '../../src/auth/create-auth-provider.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { clientAddress } from '../../src/http/client-address.ts'
import type { KoraSyncServerConfig } from '../../src/http/kora-sync-server.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, type SocketServer, seedOf, startSocketServer } from '../support/socket-client.ts'
import { SECRET, secretBytes, sign } from '../support/tokens.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const SESSIONS = 10_000
const GUESSES = sized(300, 10_000)
const GUESSES_AT_ONCE = 2000 // each is held for three seconds
const CANARY = 'canary-of-a-member'

async function openServer() {
  const store = new MemoryServerStore()
  const author = new OperationAuthor('author')
  await appendAll(store, [
    author.insert(recordIdOf('secret'), { title: CANARY }),
    author.insert(recordIdOf('news'), { title: 'hello' }, { collection: 'news' }),
  ])
  const auth = await createAuthProvider(
    {
      mode: 'mixed',
      jwt: { secret: SECRET, clockToleranceMs: 0, userIdClaim: 'sub' },
      anonymous: { scopes: { news: {} }, prefix: 'anon' },
      invalidToken: 'anonymous',
    },
    { runtime: systemRuntime(), logger: silentLogger },
  )
  return await startSocketServer({ store, auth, allowedOrigins: ['https://app.example.com'] })
}

function memberToken(): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + 3600
  const claims = { sub: 'ada', exp, iat: exp - 7200 }
  return sign(claims, { alg: 'HS256' }, secretBytes())
}

test(
  'whoever has no valid token sees what anonymous visitors may see, whatever the token is instead',
  async () => {
    const seed = seedOf('anonymous sessions')
    const mutator = new Mutator(seed)
    await using server = await openServer()
    const token = await memberToken()
    using member = await server.connect('phone', {}, { authToken: token })
    expect(member.texts.join()).toContain(CANARY)

    let received = 0
    for (let count = 0; count < SESSIONS; count++) {
      const bytes = mutator.bytes(Buffer.from(token), [Buffer.from(token)]).toString('latin1')
      const authToken = mutator.random() < 0.1 ? '' : bytes
      if (authToken === token) continue
      using client = await server.open()
      client.send(handshakeOf(`visitor-${count % 50}`, {}, { authToken }))
      await client.until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
      const text = client.texts.join()
      if (text.includes(CANARY)) expect.fail(`let in by ${JSON.stringify(authToken)}`)
      if (text.includes('hello')) received++
    }
    expect(received).toBeGreaterThan(SESSIONS / 2) // the others' tokens were no text for a handshake
    reportFigures('anonymous sessions', { sessions: SESSIONS, 'saw what is not theirs': 0, seed })
  },
  timeoutMs(300_000),
)

test(
  'the polls of others cannot be taken by guessing their ids, nor with an id that is known, nor be ended',
  async () => {
    await using server = await openServer()
    const base = server.url.replace(/^ws/, 'http')
    const token = await memberToken()
    const clientId = crypto.randomUUID()
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const body = JSON.stringify(handshakeOf('phone', {}, { authToken: token }))
    await fetch(`${base}?client=${clientId}`, { method: 'POST', headers, body })
    const admitted = async () => (await server.server.getStatus()).connectedNodeIds
    await expect.poll(admitted, { timeout: 10_000 }).toEqual(['phone']) // its answers wait for it

    const statuses = new Map<number, number>()
    const guessOnce = async (guess: number): Promise<void> => {
      const id = guess % 3 === 0 ? clientId : crypto.randomUUID()
      const guessed = guess % 2 === 0 ? {} : { authorization: `Bearer ${token.slice(0, -2)}xx` }
      const answer = await fetch(`${base}?client=${id}`, { headers: guessed })
      if ((await answer.text()).includes(CANARY)) expect.fail(`given to ${JSON.stringify(guessed)}`)
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
    }
    for (let first = 0; first < GUESSES; first += GUESSES_AT_ONCE) {
      const count = Math.min(GUESSES_AT_ONCE, GUESSES - first)
      await Promise.all(Array.from({ length: count }, (_, index) => guessOnce(first + index)))
    }
    for (const authorization of ['', 'Bearer nonsense']) {
      const stranger = { ...(authorization !== '' && { authorization }), 'content-type': 'application/json' }
      const intruding = JSON.stringify(handshakeOf('stranger', {}, { authToken: 'nonsense' }))
      await fetch(`${base}?client=${clientId}`, { method: 'POST', headers: stranger, body: intruding })
      const heard = async () => (await fetch(`${base}?client=${clientId}`, { headers: stranger })).text()
      await expect.poll(heard, { timeout: 10_000 }).toMatch(/"type":"(error|handshake-response)"/)
    }
    const texts: string[] = []
    for (let poll = 0; poll < 2; poll++)
      texts.push(await (await fetch(`${base}?client=${clientId}`, { headers })).text())

    expect([...statuses.keys()].filter((status) => status !== 204 && status !== 410)).toEqual([])
    expect(texts.join()).not.toContain('AUTH_FAILED')
    expect(texts.join()).toContain(CANARY) // nothing of it was lost to the others
    reportFigures('foreign polls', { polls: GUESSES, 'answered with data': 0 })
  },
  timeoutMs(60_000),
)

describe('a limit of connections for each address counts that of the socket, whatever X-Forwarded-For claims', () => {
  const ALLOWED = 3
  const CLAIMED = Array.from({ length: 2 * ALLOWED }, (_, i) => `10.0.0.${i}`)
  const answersWith = (refusal: string) =>
    CLAIMED.map((_, i) => (i < ALLOWED ? 'handshake-response' : refusal))
  const open = (config: Partial<KoraSyncServerConfig> = {}) =>
    startSocketServer({
      store: new MemoryServerStore(),
      limits: { maxConnectionsPerAddress: ALLOWED },
      ...config,
    })

  test('of WebSockets', async () => {
    await using server = await open()
    const answers: string[] = []
    for (const claimed of CLAIMED) answers.push(await answerTo(server, claimed))

    expect(answers).toEqual(answersWith('MAX_CONNECTIONS'))
  })

  test('of those that poll', async () => {
    await using server = await open()
    const answers: string[] = []
    for (const claimed of CLAIMED) {
      const url = `${server.url.replace(/^ws/, 'http')}?client=${crypto.randomUUID()}`
      const message = handshakeOf(claimed) as { authToken: string }
      const headers = { authorization: `Bearer ${message.authToken}`, 'x-forwarded-for': claimed }
      const body = JSON.stringify(message)
      await fetch(url, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body })
      answers.push(answerIn(await (await fetch(url, { headers })).text()))
    }

    expect(answers).toEqual(answersWith('The session has ended')) // an error would keep its client away
  })

  test('and takes a /64 of IPv6 for one, where a proxy that is trusted tells of it', async () => {
    const trusting = { addressOf: clientAddress(['127.0.0.1']) }
    await using server = await open(trusting)
    const ofOneHome = CLAIMED.map((_, i) => `2001:db8:0:7:${i}::1`)
    const answers: string[] = []
    for (const claimed of [...ofOneHome, '2001:db8:0:8::1']) answers.push(await answerTo(server, claimed))
    const shown = [...server.server.hub.sessions.values()].map(({ remoteAddress }) => remoteAddress)

    expect(answers).toEqual([...answersWith('MAX_CONNECTIONS'), 'handshake-response'])
    expect(shown).toEqual([...ofOneHome.slice(0, ALLOWED), '2001:db8:0:8::1']) // whole, as they are logged
  })

  async function answerTo({ url }: SocketServer, claimed: string): Promise<string> {
    const socket = new WebSocket(url, { headers: { 'x-forwarded-for': claimed } })
    socket.on('open', () => socket.send(JSON.stringify(handshakeOf(claimed))))
    const [data] = await once(socket, 'message')
    return answerIn(String(data))
  }

  function answerIn(text: string): string {
    return /MAX_CONNECTIONS|The session has ended|handshake-response/.exec(text)?.[0] ?? text
  }
})

describe('an origin that is not allowed', () => {
  const ORIGINS = [
    'null',
    'http://app.example.com',
    'https://app.example.com.evil.example',
    'https://app.example.com:8443',
    'https://app.example.com/',
    'https://app.example.com@evil.example',
    'https://APP.example.com',
    'https://evil-app.example.com',
    'https://app-example.com',
    'https://app.example.com, https://evil.example',
    'https://app.example.com%00.evil.example',
    'https://app.example.co',
    '*',
    '//app.example.com',
    'file://',
  ]

  test.each(ORIGINS)('%s may neither connect nor poll', async (origin) => {
    await using server = await openServer()
    const socket = new WebSocket(server.url, { headers: { origin } })
    const status = await new Promise((resolve) => {
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode))
      socket.on('open', () => resolve('open'))
      socket.on('error', () => {})
    })
    const answer = await fetch(`${server.url.replace(/^ws/, 'http')}?client=a`, { headers: { origin } })

    expect(status).toBe(403)
    expect(answer.status).toBe(403)
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })

  test('is told from one that is', async () => {
    await using server = await openServer()
    const socket = new WebSocket(server.url, { headers: { origin: 'https://app.example.com' } })
    await new Promise((resolve) => socket.on('open', resolve))
    socket.terminate()
  })
})
