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
import {
  handshakeOf,
  pushed,
  type SocketServer,
  seedOf,
  startSocketServer,
} from '../support/socket-client.ts'
import { SECRET, secretBytes, sign } from '../support/tokens.ts'
import { reportFigures, timeoutMs } from '../support/trust.ts'

const SESSIONS = 10_000
const GUESSES = 10_000
/** Each is held for three seconds. In between the member polls: it is ended when it acknowledges nothing for 30 s. */
const GUESSES_AT_ONCE = 1000
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

/** A client with a token that polls when the test says so. */
class PollingMember {
  readonly texts: string[] = []
  readonly #url: string
  readonly #token: string
  readonly #headers: { readonly [name: string]: string }

  constructor(url: string, token: string) {
    this.#url = url
    this.#token = token
    this.#headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  }

  async begin(): Promise<void> {
    await this.#post(handshakeOf('phone', {}, { authToken: this.#token }))
  }

  /** Takes what waits for it, and acknowledges it. Ends with the message that holds this text. */
  async pollUntil(text: string): Promise<void> {
    for (;;) {
      const answer = await fetch(this.#url, { headers: this.#headers })
      const heard = await answer.text()
      expect([200, 204], heard).toContain(answer.status)
      if (answer.status === 204) continue // nothing was there in the time that a poll is held
      this.texts.push(heard)
      const { type, messageId, maxDeliverySequence, operations } = JSON.parse(heard)
      if (type === 'operation-batch') {
        await this.#post({
          type: 'acknowledgment',
          messageId: `of ${messageId}`,
          acknowledgedMessageId: messageId,
          lastSequenceNumber: operations.at(-1)?.sequenceNumber ?? 0,
          deliverySequence: maxDeliverySequence,
        })
      }
      if (heard.includes(text)) return
    }
  }

  async #post(message: object): Promise<void> {
    const body = JSON.stringify(message)
    expect((await fetch(this.#url, { method: 'POST', headers: this.#headers, body })).status).toBe(202)
  }
}

test(
  'the polls of others cannot be taken by guessing their ids, nor with an id that is known, nor be ended',
  async () => {
    await using server = await openServer()
    const base = server.url.replace(/^ws/, 'http')
    const token = await memberToken()
    const clientId = crypto.randomUUID()
    const member = new PollingMember(`${base}?client=${clientId}`, token)
    await member.begin()
    const admitted = async () => (await server.server.getStatus()).connectedNodeIds
    await expect.poll(admitted, { timeout: 10_000 }).toEqual(['phone']) // its answers wait for it
    /** Waits for the member, too. */
    const writeCanary = async (name: string): Promise<string> => {
      using writer = await server.connect(name, {}, { authToken: token })
      const title = `${CANARY}, ${name}`
      await pushed(writer, [new OperationAuthor(name).insert(recordIdOf(name), { title })], name)
      return title
    }

    const statuses = new Map<number, number>()
    const guessOnce = async (guess: number): Promise<void> => {
      const id = guess % 3 === 0 ? clientId : crypto.randomUUID()
      const guessed = guess % 2 === 0 ? {} : { authorization: `Bearer ${token.slice(0, -2)}xx` }
      const answer = await fetch(`${base}?client=${id}`, { headers: guessed })
      if ((await answer.text()).includes(CANARY)) expect.fail(`given to ${JSON.stringify(guessed)}`)
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
    }
    for (let first = 0; first < GUESSES; first += GUESSES_AT_ONCE) {
      const canary = await writeCanary(`wave ${first}`)
      await Promise.all(Array.from({ length: GUESSES_AT_ONCE }, (_, index) => guessOnce(first + index)))
      await member.pollUntil(canary) // nothing of it was lost to the others
    }
    for (const authorization of ['', 'Bearer nonsense']) {
      const stranger = { ...(authorization !== '' && { authorization }), 'content-type': 'application/json' }
      const intruding = JSON.stringify(handshakeOf('stranger', {}, { authToken: 'nonsense' }))
      await fetch(`${base}?client=${clientId}`, { method: 'POST', headers: stranger, body: intruding })
      const heard = async () => (await fetch(`${base}?client=${clientId}`, { headers: stranger })).text()
      await expect.poll(heard, { timeout: 10_000 }).toMatch(/"type":"(error|handshake-response)"/)
    }
    await member.pollUntil(await writeCanary('last'))

    expect([...statuses.keys()].filter((status) => status !== 204 && status !== 410)).toEqual([])
    expect(member.texts.join()).not.toContain('AUTH_FAILED')
    reportFigures('foreign polls', { polls: GUESSES, 'answered with data': 0 })
  },
  timeoutMs(180_000),
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
    const status = await new Promise((resolve) => {
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode))
      socket.on('open', () => resolve('open'))
      socket.on('error', resolve)
    })
    socket.terminate()

    expect(status).toBe('open')
  })
})
