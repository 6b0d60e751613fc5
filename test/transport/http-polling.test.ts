import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect as connectTo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { StoreError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Operation } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import {
  createKoraServer,
  type HttpSyncResponse,
  type KoraSyncServer,
  MemoryServerStore,
  TokenAuthProvider,
} from '../../src/index.ts'
import { openDevice } from '../support/device.ts'
import { exchange } from '../support/raw-http.ts'
import { operation } from '../support/wire-operations.ts'

const TOKENS: { readonly [token: string]: string } = {
  'token-a': 'user-a',
  'token-a2': 'user-a',
  'token-b': 'user-b',
  'token-slow': 'user-a',
}

/** What the check of the token `token-slow` waits for. */
let slowCheck: Promise<void> = Promise.resolve()
let store: MemoryServerStore
let server: KoraSyncServer
let base: string

beforeEach(async () => {
  store = new MemoryServerStore()
  const auth = new TokenAuthProvider({
    validate: async (token) => {
      if (token === 'token-slow') await slowCheck
      const userId = TOKENS[token]
      return userId === undefined ? null : { userId }
    },
  })
  const limits = { maxMessageBytes: 100_000 }
  server = createKoraServer({
    store,
    port: 0,
    host: '127.0.0.1',
    path: '/sync',
    auth,
    limits,
    logger: silentLogger,
  })
  await server.start()
  base = (server.url as string).replace(/^ws/, 'http')
})

afterEach(async () => {
  await server.stop()
  await store.close()
})

interface Requester {
  get(headers?: Record<string, string>): Promise<Response>
  post(body: object | string, headers?: Record<string, string>): Promise<Response>
  /** The next message, polling until there is one. */
  next(): Promise<{ type: string; [property: string]: unknown }>
}

function client(token = 'token-a', url = `${base}?client=${crypto.randomUUID()}`): Requester {
  const authorization = `Bearer ${token}`
  const get: Requester['get'] = (headers = {}) => fetch(url, { headers: { authorization, ...headers } })
  return {
    get,
    post: (body, headers = {}) =>
      fetch(url, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    async next() {
      for (;;) {
        const response = await get()
        if (response.status === 200) return (await response.json()) as { type: string }
        if (response.status !== 204)
          throw new Error(`GET answered ${response.status}: ${await response.text()}`)
      }
    },
  }
}

function handshake(nodeId = 'phone', authToken = 'token-a'): object {
  const position = { versionVector: {}, lastDeliverySequence: 0 }
  return { type: 'handshake', messageId: 'msg-1-1', nodeId, schemaVersion: 1, authToken, ...position }
}

function write(sequenceNumber: number): Operation {
  const timestamp = { wallTime: 1_748_736_000_000 + sequenceNumber, logical: 0, nodeId: 'phone' }
  const draft = operation({ nodeId: 'phone', sequenceNumber, recordId: `r${sequenceNumber}`, timestamp })
  return { ...draft, id: computeOperationId(draft) }
}

function batch(number: number, operations: readonly Operation[]): object {
  return { type: 'operation-batch', messageId: `msg-1-${number}`, operations, isFinal: true, batchIndex: 0 }
}

/** Whether a poll is told nothing for a moment. */
async function isHeld(url: string, token: string): Promise<boolean> {
  const headers = { authorization: `Bearer ${token}` }
  const answer = fetch(url, { headers, signal: AbortSignal.timeout(200) })
  return answer.then(
    () => false,
    (error: Error) => error.name === 'TimeoutError',
  )
}

async function connected(token?: string, url?: string): Promise<Requester> {
  const requester = client(token, url)
  expect((await requester.post(handshake('phone', token ?? 'token-a'))).status).toBe(202)
  expect((await requester.next()).type).toBe('handshake-response')
  expect((await requester.next()).type).toBe('operation-batch')
  return requester
}

test('syncs: a handshake, a batch out, a batch in', async () => {
  const phone = client()
  const first = phone.next() // the first poll of a Kora client precedes its handshake
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is held
  await phone.post(handshake())

  expect(await first).toMatchObject({ type: 'handshake-response', accepted: true })
  expect(await phone.next()).toMatchObject({ type: 'operation-batch', isFinal: true })
  await phone.post(batch(2, [write(1)]))
  expect(await phone.next()).toMatchObject({ type: 'acknowledgment', lastSequenceNumber: 1 })
  expect(await store.getOperationCount()).toBe(1)
})

test.each([
  ['parsed', { type: 'handshake' }],
  ['an ArrayBuffer', new ArrayBuffer(8)],
  ['a list', [1, 2]],
  ['null', null],
  ['a number', 7],
])('a body that is %s is refused, not thrown over', async (_what, given) => {
  const body = given as string | null as string // of a program without types

  const response = await server.handleHttpRequest({ clientId: 'c', method: 'POST', body })

  expect(response.status).toBe(400)
  expect(String(response.body)).toMatch(given === null ? /needs a message/ : /as text or bytes/)
})

test('holds a poll until there is something to say', async () => {
  const phone = await connected()
  const held = phone.get()
  await phone.post(batch(2, [write(1)]))

  const response = await held

  expect(response.status).toBe(200)
  expect(response.headers.get('etag')).toBe('W/"3"')
  expect(await response.json()).toMatchObject({ type: 'acknowledgment' })
})

test('what comes after a poll was given up is kept for the next one', async () => {
  const url = `${base}?client=${crypto.randomUUID()}`
  const phone = await connected('token-a', url)
  const givenUp = new AbortController()
  const poll = fetch(url, { headers: { authorization: 'Bearer token-a' }, signal: givenUp.signal })
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is held
  givenUp.abort()
  await expect(poll).rejects.toThrow()
  await new Promise((resolve) => setTimeout(resolve, 100)) // the server sees its connection close

  await phone.post(batch(2, [write(1)]))

  expect(await phone.next()).toMatchObject({ type: 'acknowledgment', acknowledgedMessageId: 'msg-1-2' })
})

test('stores batches in the order in which they were sent, whatever order they arrive in', async () => {
  const phone = await connected()

  await phone.post(batch(4, [write(3)]))
  await phone.post(batch(3, [write(2)]))
  await phone.post(batch(2, [write(1)]))
  for (let i = 0; i < 3; i++) await phone.next()

  const log = await store.getOperationsAfterDelivery(0, 10)
  expect(log.map((row) => row.operation.sequenceNumber)).toEqual([1, 2, 3])
})

test('a batch that does not come is not counted over, and numbers that a client leaves out are', async () => {
  const numberOf = async () => (await store.getVersionVector()).get('phone')
  const phone = await connected()
  await phone.post({ ...batch(2, []), totalBatches: 1 })
  await phone.post(batch(3, [write(2)])) // 1 is not in its view
  await expect.poll(numberOf).toBe(2)

  await phone.post(batch(5, [write(4)]))
  await expect.poll(() => store.getOperationCount()).toBe(2)

  expect(await numberOf()).toBe(2)
})

test('says 304 where the client already has the next message', async () => {
  const phone = await connected()
  await phone.post(batch(2, []))
  await expect.poll(async () => (await phone.get({ 'if-none-match': 'W/"3"' })).status).toBe(304)

  expect((await phone.get()).status).toBe(200)
})

test('a new handshake starts a new session and drops what the old one had queued', async () => {
  const phone = await connected()
  await phone.post(batch(2, [write(1)]))
  await phone.post(handshake())

  expect(await phone.next()).toMatchObject({ type: 'handshake-response', accepted: true })
  expect(server.getConnectionCount()).toBe(1)
})

test('a poll that precedes the handshake of a client that comes back is answered by its new session', async () => {
  const phone = await connected()
  const held = phone.get()
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is held for the old session

  await phone.post(handshake())

  const response = await held
  expect(response.status).toBe(200)
  expect(await response.json()).toMatchObject({ type: 'handshake-response', accepted: true })
  expect(await phone.next()).toMatchObject({ type: 'operation-batch' })
})

test('a client that comes back while its last poll is held is told nothing of its old session', async () => {
  const phone = await connected()
  const held = phone.get()
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is held, and its connection stays

  const first = phone.get()
  expect((await held).status).toBe(204)
  await phone.post(batch(2, [write(1)]))
  await expect.poll(() => store.getOperationCount()).toBe(1)
  await phone.post(handshake())

  expect(await (await first).json()).toMatchObject({ type: 'handshake-response', accepted: true })
})

test('a client whose connection closed between two polls is told nothing of its old session', async () => {
  const phone = await connected('token-a', `${base}?client=phone`)
  await phone.post(batch(2, []))
  const { port, pathname } = new URL(base)
  const socket = connectTo(Number(port), '127.0.0.1')
  socket.write(`GET ${pathname}?client=phone HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-a\r\n\r\n`)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 /)
  await phone.post(batch(3, []))
  socket.destroy()
  await new Promise((resolve) => setTimeout(resolve, 100)) // the server sees it close

  const first = phone.get()
  await new Promise((resolve) => setTimeout(resolve, 100)) // it overtakes the handshake
  await phone.post(handshake())

  expect(await (await first).json()).toMatchObject({ type: 'handshake-response', accepted: true })
})

test('a client whose connections close after each answer does not wait', async () => {
  const phone = await connected('token-a', `${base}?client=phone`)
  const startedAt = performance.now()

  for (let number = 2; number < 12; number++) {
    await phone.post(batch(number, []))
    const answer = await exchange(
      Number(new URL(base).port),
      'GET /sync?client=phone HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-a\r\nConnection: close\r\n\r\n',
    )
    expect(answer).toContain(`msg-1-${number}`)
  }

  expect(performance.now() - startedAt).toBeLessThan(5000)
})

test('a client whose connection broke is told nothing of its old session when it comes back', async () => {
  const url = `${base}?client=${crypto.randomUUID()}`
  const phone = await connected('token-a', url)
  const broken = new AbortController()
  const poll = fetch(url, { headers: { authorization: 'Bearer token-a' }, signal: broken.signal })
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is held
  broken.abort()
  await expect(poll).rejects.toThrow()
  await new Promise((resolve) => setTimeout(resolve, 100)) // the server sees its connection close
  await phone.post(batch(2, [write(1)]))
  await expect.poll(() => store.getOperationCount()).toBe(1)

  const first = phone.get()
  await new Promise((resolve) => setTimeout(resolve, 100)) // it overtakes the handshake
  await phone.post(handshake())

  expect(await (await first).json()).toMatchObject({ type: 'handshake-response', accepted: true })
})

test('why a session has ended is told to a client whose connection broke', async () => {
  const url = `${base}?client=phone`
  const phone = await connected('token-a', url)
  const broken = new AbortController()
  const poll = server.handleHttpRequest({ clientId: 'phone', method: 'GET', signal: broken.signal })
  await new Promise((resolve) => setTimeout(resolve, 50)) // it is held
  broken.abort()
  await poll
  await phone.post('{')

  expect(await phone.next()).toMatchObject({ type: 'error', code: 'PROTOCOL_ERROR' })
  expect((await phone.get()).status).toBe(410)
})

describe('an answer whose connection broke before it had left', () => {
  const poll = (clientId: string) => server.handleHttpRequest({ clientId, method: 'GET', token: 'token-a' })
  const contentOf = ({ status, headers, body }: HttpSyncResponse) => ({ status, headers, body })

  async function queuedFor(clientId: string): Promise<void> {
    const phone = await connected('token-a', `${base}?client=${clientId}`)
    await phone.post(batch(2, [write(1)]))
    await phone.post(batch(3, [write(2)]))
    await expect.poll(() => store.getOperationCount()).toBe(2)
  }

  test('is given to the next poll, under the same number', async () => {
    await queuedFor('phone')
    const lost = await poll('phone')
    lost.onBroken?.('unsent')

    const again = await poll('phone')

    expect(contentOf(again)).toEqual(contentOf(lost))
    expect(JSON.parse(String(again.body))).toMatchObject({ acknowledgedMessageId: 'msg-1-2' })
    expect(JSON.parse(String((await poll('phone')).body))).toMatchObject({ acknowledgedMessageId: 'msg-1-3' })
  })

  test('is given to a poll that waits already', async () => {
    const phone = await connected('token-a', `${base}?client=phone`)
    await phone.post(batch(2, [write(1)]))
    const lost = await poll('phone')
    const waiting = poll('phone')
    await new Promise((resolve) => setTimeout(resolve, 50))

    lost.onBroken?.('unsent')

    expect(contentOf(await waiting)).toEqual(contentOf(lost))
  })

  test('is not given after what has followed it', async () => {
    await queuedFor('phone')
    const lost = await poll('phone')
    const next = await poll('phone')
    lost.onBroken?.('unsent')

    expect(JSON.parse(String(next.body))).toMatchObject({ acknowledgedMessageId: 'msg-1-3' })
    const phone = client('token-a', `${base}?client=phone`)
    await phone.post(batch(4, [write(3)]))
    expect(await phone.next()).toMatchObject({ acknowledgedMessageId: 'msg-1-4' })
  })
})

test('what was sent before a handshake and arrives after it is refused, and the new session goes on', async () => {
  let admit = (): void => {}
  slowCheck = new Promise((resolve) => {
    admit = resolve
  })
  const phone = client('token-slow')
  await phone.post(handshake('phone', 'token-slow'))

  const late = await phone.post(batch(0, [write(1)]))
  admit()

  expect(late.status).toBe(410)
  expect(await phone.next()).toMatchObject({ type: 'handshake-response', accepted: true })
  expect(await phone.next()).toMatchObject({ type: 'operation-batch' })
  await phone.post(batch(2, [write(1)]))
  expect(await phone.next()).toMatchObject({ type: 'acknowledgment', lastSequenceNumber: 1 })
})

test.each(['before a handshake', 'while a handshake is checked'])(
  'what began to arrive %s, and is whole after that was accepted, is refused',
  async (when) => {
    const url = `${base}?client=${crypto.randomUUID()}`
    const late = request(url, { method: 'POST', headers: { authorization: 'Bearer token-slow' } })
    const begin = async (): Promise<void> => {
      late.write('{')
      await new Promise((resolve) => setTimeout(resolve, 100)) // it has come
    }
    let admit = (): void => {}
    slowCheck = new Promise((resolve) => {
      admit = resolve
    })
    if (when === 'before a handshake') await begin()
    const phone = client('token-slow', url)
    await phone.post(handshake('phone', 'token-slow'))
    if (when === 'while a handshake is checked') await begin()
    admit()
    expect(await phone.next()).toMatchObject({ type: 'handshake-response', accepted: true })
    expect(await phone.next()).toMatchObject({ type: 'operation-batch' })

    late.end(JSON.stringify(batch(2, [write(1)])).slice(1))

    const [answer] = (await once(late, 'response')) as [IncomingMessage]
    expect(answer.resume().statusCode).toBe(410)
    await phone.post(batch(3, [write(2)]))
    expect(await phone.next()).toMatchObject({ type: 'acknowledgment', acknowledgedMessageId: 'msg-1-3' })
    expect(await store.getOperationCount()).toBe(1)
  },
)

test('an error is still delivered after the session has ended, then 410', async () => {
  const stranger = client('nonsense')
  await stranger.post(handshake('phone', 'nonsense'))

  expect(await stranger.next()).toMatchObject({ type: 'error', code: 'AUTH_FAILED' })
  expect((await stranger.get()).status).toBe(410)
  expect((await stranger.post(batch(2, []))).status).toBe(410)
})

test('a fault that passes ends the session without an error, so that the client comes back by itself', async () => {
  await using phone = await openDevice({ url: `${base}?client=${crypto.randomUUID()}`, token: 'token-a' })
  const { append } = store
  store.append = () => Promise.reject(new StoreError('STORE_UNAVAILABLE', 'the disk is full'))

  phone.insert('todos', { title: 'milk' })
  await phone.until(() => phone.journal.of('closed').length > 0, 'its session has ended')
  store.append = append
  await phone.synced()

  expect(phone.journal.of('error')).toEqual([])
  expect(await store.getOperationCount()).toBe(1)
})

test('a client whose token could not be judged comes back by itself', async () => {
  await using phone = await openDevice({
    url: `${base}?client=${crypto.randomUUID()}`,
    token: 'token-slow',
    isOnline: false,
  })
  slowCheck = Promise.reject(new Error('the user database is away'))
  slowCheck.catch(() => {})

  phone.goOnline()
  await phone.until(() => phone.journal.of('closed').length > 0, 'it is sent back')
  slowCheck = Promise.resolve()
  await phone.streaming()

  expect(phone.journal.of('error')).toEqual([])
})

test('handshakes that are refused keep nobody out', async () => {
  const auth = new TokenAuthProvider({
    validate: async (token) => (token === 'token-a' ? { userId: 'a' } : null),
  })
  const settings = {
    store,
    port: 0,
    host: '127.0.0.1',
    path: '/sync',
    maxConnections: 2,
    logger: silentLogger,
  }
  const small = createKoraServer({ ...settings, auth })
  await small.start()
  const url = (): string => `${(small.url as string).replace(/^ws/, 'http')}?client=${crypto.randomUUID()}`
  for (let index = 0; index < 5; index++) {
    const stranger = client('nonsense', url())
    expect((await stranger.post(handshake('phone', 'nonsense'))).status).toBe(202)
    await expect.poll(() => small.getConnectionCount()).toBe(0)
  }

  await connected('token-a', url())
  await connected('token-a', url())

  const third = client('token-a', url())
  expect((await third.post(handshake())).status).toBe(429)
  await small.stop()
})

describe('a session belongs to the user who opened it', () => {
  test.each([
    ['no token', undefined, undefined],
    ['a token that is refused', 'nonsense', 'nonsense'],
    ['the token of another user, and none in the handshake', 'token-b', undefined],
    ['the token of another user', 'token-b', 'token-b'],
  ])('a handshake under its id, with %s, does not end it', async (_, token, authToken) => {
    const url = `${base}?client=${crypto.randomUUID()}`
    const phone = await connected('token-a', url)
    const held = phone.get()
    await new Promise((resolve) => setTimeout(resolve, 100)) // it is held

    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const body = JSON.stringify({ ...handshake('tablet'), authToken })
    expect((await fetch(url, { method: 'POST', headers, body })).status).toBe(202)
    const heard = (): Promise<Response> => fetch(url, { headers })
    const type = authToken === 'token-b' ? 'handshake-response' : 'error'
    await expect.poll(async () => (await heard()).text()).toContain(`"type":"${type}"`)

    await phone.post(batch(2, [write(1)]))
    expect(await (await held).json()).toMatchObject({ type: 'acknowledgment', lastSequenceNumber: 1 })
    await phone.post(batch(3, [write(2)]))
    expect(await phone.next()).toMatchObject({ type: 'acknowledgment', lastSequenceNumber: 2 })
  })

  test('a poll without its token is told nothing while the token is checked', async () => {
    let admit = (): void => {}
    slowCheck = new Promise((resolve) => {
      admit = resolve
    })
    const url = `${base}?client=${crypto.randomUUID()}`
    const phone = client('token-slow', url)
    await phone.post(handshake('phone', 'token-slow'))

    for (const token of ['', 'token-b']) expect(await isHeld(url, token)).toBe(true)
    expect((await fetch(url, { method: 'POST', body: JSON.stringify(batch(2, [write(1)])) })).status).toBe(
      410,
    )
    admit()

    expect(await phone.next()).toMatchObject({ type: 'handshake-response', accepted: true })
    expect(await store.getOperationCount()).toBe(0)
  })

  test('its user comes back with a fresh token, and the old session ends', async () => {
    const url = `${base}?client=${crypto.randomUUID()}`
    await connected('token-a', url)

    const phone = await connected('token-a2', url)

    expect(server.getConnectionCount()).toBe(1)
    await phone.post(batch(2, [write(1)]))
    expect(await phone.next()).toMatchObject({ type: 'acknowledgment', lastSequenceNumber: 1 })
  })

  test('its user comes back with a fresh token where one connection of each user is allowed', async () => {
    const auth = new TokenAuthProvider({
      validate: async (token) => (token in TOKENS ? { userId: TOKENS[token] as string } : null),
    })
    const small = createKoraServer({
      store,
      auth,
      limits: { maxConnectionsPerUser: 1 },
      logger: silentLogger,
    })
    const poll = async (token: string) =>
      JSON.parse(String((await small.handleHttpRequest({ clientId: 'phone', method: 'GET', token })).body))
    const open = (token: string) => {
      const body = JSON.stringify(handshake('phone', token))
      return small.handleHttpRequest({ clientId: 'phone', method: 'POST', token, body })
    }
    await open('token-a')
    expect(await poll('token-a')).toMatchObject({ type: 'handshake-response', accepted: true })

    await open('token-a2')

    expect(await poll('token-a2')).toMatchObject({ type: 'handshake-response', accepted: true })
    await small.stop()
  })

  test.each([
    ['had no session', false],
    ['had a session', true],
  ])(
    'a handshake that is admitted late ends no session of a later one of its user, who %s before',
    async (_, had) => {
      let admit = (): void => {}
      slowCheck = new Promise((resolve) => {
        admit = resolve
      })
      const url = `${base}?client=${crypto.randomUUID()}`
      if (had) await connected('token-a', url)
      const opened = () => server.hub.stats.connectionsTotal
      const openedBefore = opened()
      const late = client('token-slow', url).post(handshake('phone', 'token-slow'))
      await new Promise((resolve) => setTimeout(resolve, 100)) // it has come
      const phone = await connected('token-a2', url)

      admit()
      expect((await late).status).toBe(202)
      await expect.poll(opened).toBe(openedBefore + 2)
      await expect.poll(() => server.getConnectionCount()).toBe(1)

      await phone.post(batch(2, [write(1)]))
      expect(await phone.next()).toMatchObject({ type: 'acknowledgment', lastSequenceNumber: 1 })
    },
  )

  test('a fresh token reads the answer to the handshake that the one before was sent with', async () => {
    const url = `${base}?client=${crypto.randomUUID()}`
    await client('token-a', url).post(handshake())

    expect(await client('token-a2', url).next()).toMatchObject({ type: 'handshake-response' })
  })

  test('a session of another user under the same id is another one', async () => {
    const url = `${base}?client=${crypto.randomUUID()}`
    const ada = await connected('token-a', url)
    const bob = await connected('token-b', url)
    await ada.post(batch(2, [write(1)]))
    await bob.post(batch(3, []))

    expect(await ada.next()).toMatchObject({ acknowledgedMessageId: 'msg-1-2' })
    expect(server.getConnectionCount()).toBe(2)
    await expect.poll(async () => await bob.next()).toMatchObject({ acknowledgedMessageId: 'msg-1-3' })
  })

  test('another user who polls under its id before the handshake is answered by a session of their own', async () => {
    const url = `${base}?client=${crypto.randomUUID()}`
    const ada = await connected('token-a', url)
    const bob = client('token-b', url)
    const first = bob.get()
    await new Promise((resolve) => setTimeout(resolve, 100)) // it overtakes the handshake
    await bob.post(handshake('tablet', 'token-b'))

    expect(await (await first).json()).toMatchObject({ type: 'handshake-response', accepted: true })
    await ada.post(batch(2, [write(1)]))
    expect(await ada.next()).toMatchObject({ type: 'acknowledgment', lastSequenceNumber: 1 })
  })

  test('another user cannot poll it or post to it', async () => {
    const url = `${base}?client=${crypto.randomUUID()}`
    await connected('token-a', url)
    const thief = client('token-b', url)

    expect(await isHeld(url, 'token-b')).toBe(true) // as where there is no session
    expect((await thief.post(batch(2, [write(1)]))).status).toBe(410)
    expect((await fetch(url)).status).toBe(401)
    expect(await store.getOperationCount()).toBe(0)
  })

  test('another user cannot take what is queued when it has ended', async () => {
    const url = `${base}?client=${crypto.randomUUID()}`
    await client('token-a', url).post(handshake())
    await expect.poll(() => [...server.hub.sessions.values()].some((s) => s.isAccepted)).toBe(true)
    server.hub.disconnectAll('TOKEN_EXPIRED')

    expect(await isHeld(url, 'token-b')).toBe(true)
    expect(await (await client('token-a', url).get()).json()).toMatchObject({ type: 'handshake-response' })
  })

  test('the same user goes on with a fresh token', async () => {
    const url = `${base}?client=${crypto.randomUUID()}`
    await connected('token-a', url)

    const response = await client('token-a2', url).post(batch(2, [write(1)]))

    expect(response.status).toBe(202)
  })
})

test('takes nothing larger than a handshake before it knows who sends it', async () => {
  const slow = createKoraServer({
    port: 0,
    host: '127.0.0.1',
    path: '/sync',
    store,
    auth: { authenticate: () => new Promise(() => {}) },
    logger: silentLogger,
  })
  await slow.start()
  const stranger = client('token-a', `${(slow.url as string).replace(/^ws/, 'http')}?client=x`)
  await stranger.post(handshake())

  expect((await stranger.post(`{"messageId":"msg-1-9","x":"${'x'.repeat(2_000_000)}"}`)).status).toBe(413)
  slow.abort()
  await slow.stop()
})

test('reads no more of a stranger than a handshake may have', async () => {
  const open = createKoraServer({ port: 0, host: '127.0.0.1', store, logger: silentLogger })
  await open.start()
  const head = 'POST /?client=x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n'

  // Refused by what it announces: the rest of it never has to come.
  const answer = await exchange(
    Number(new URL(open.url as string).port),
    `${head}Content-Length: 4000000\r\n\r\n{"type":"handshake",`,
  )

  expect(answer).toMatch(/^HTTP\/1\.1 413 /)
  expect(answer).toContain('The message is larger than 1048576 bytes.')
  await open.stop()
})

test.each([
  ['is refused', 'token-unknown', 401],
  ['cannot be judged', 'token-slow', 429],
])('says that a token %s whatever the size of the message', async (_, token, status) => {
  const clientId = crypto.randomUUID()
  await connected('token-a', `${base}?client=${clientId}`)
  slowCheck = Promise.reject(new Error('the user database is away'))
  slowCheck.catch(() => {})

  for (const body of ['x', 'x'.repeat(100_001)]) {
    expect((await client(token, `${base}?client=${clientId}`).post(body)).status).toBe(status)
    expect((await server.handleHttpRequest({ clientId, method: 'POST', token, body })).status).toBe(status)
  }
})

test('gives a client without an id a cookie that tells it apart', async () => {
  const first = await fetch(base, { headers: { authorization: 'Bearer token-a' } })
  const cookie = first.headers.get('set-cookie')?.split(';')[0] ?? ''
  expect(first.status).toBe(204)
  expect(first.headers.get('set-cookie')).toContain('HttpOnly')

  const phone = client('token-a', base)
  await phone.post(handshake(), { cookie })
  const response = await phone.get({ cookie })

  expect(await response.json()).toMatchObject({ type: 'handshake-response' })
})

test('clear answers to what is no sync request', async () => {
  const phone = await connected()

  expect((await fetch(base, { method: 'PUT' })).status).toBe(405)
  expect((await phone.post('')).status).toBe(400)
  expect((await phone.post('x'.repeat(100_001))).status).toBe(413)
  expect((await client().post(batch(1, []))).status).toBe(410)
  for (const clientId of ['', undefined, null]) {
    const request = { clientId: clientId as string, method: 'GET' } as const
    expect((await server.handleHttpRequest(request)).status).toBe(400)
  }
})
