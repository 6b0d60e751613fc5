import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import {
  createKoraServer,
  type KoraSyncServer,
  type KoraSyncServerConfig,
  MemoryServerStore,
} from '../../src/index.ts'
import { collectGarbage } from '../support/collect-garbage.ts'
import { handshakeOf } from '../support/socket-client.ts'
import { closedOf, openUpload, openUploads } from '../support/uploads.ts'

const MAX_BYTES = 4 * 1024 * 1024
const PATH = '/sync?client=phone'

/** What the check of a token waits for. */
let check: Promise<void>
let checks: number
let store: MemoryServerStore
let server: KoraSyncServer
let url: string

beforeEach(async () => {
  check = Promise.resolve()
  checks = 0
  await start()
})

async function start(limits: KoraSyncServerConfig['limits'] = {}): Promise<void> {
  store = new MemoryServerStore()
  server = createKoraServer({
    store,
    port: 0,
    host: '127.0.0.1',
    path: '/sync',
    auth: { authenticate },
    limits: { maxMessageBytes: MAX_BYTES, ...limits },
    logger: silentLogger,
  })
  await server.start()
  url = (server.url as string).replace(/^ws/, 'http').replace(/\/sync$/, '')
  await connect()
}

afterEach(stop)

async function stop(): Promise<void> {
  await server.stop()
  await store.close()
}

async function authenticate(): Promise<{ userId: string }> {
  checks++
  await check
  return { userId: 'ada' }
}

function post(message: object): Promise<Response> {
  return fetch(`${url}${PATH}`, { method: 'POST', body: JSON.stringify(message) })
}

async function connect(): Promise<void> {
  expect((await post(handshakeOf('phone'))).status).toBe(202)
  const answer = await fetch(`${url}${PATH}`)
  expect(await answer.json()).toMatchObject({ type: 'handshake-response', accepted: true })
}

const ACKNOWLEDGMENT = {
  type: 'acknowledgment',
  messageId: 'msg-1-2',
  acknowledgedMessageId: 'x',
  lastSequenceNumber: 0,
}

test('bodies of a session that are never finished take no more than one message, and the next is read', async () => {
  const uploads = await openUploads(12, url, PATH, { bytes: 3_000_000 })

  await expect.poll(() => closedOf(uploads), { timeout: 10_000 }).toBe(11)

  expect(uploads.some(({ answer }) => answer.startsWith('HTTP/1.1 503 '))).toBe(true)
  expect((await post(ACKNOWLEDGMENT)).status).toBe(202)
  expect(closedOf(uploads)).toBe(11)
  for (const { socket } of uploads) socket.destroy()
})

test('of many bodies that are read at once Node says nothing', async () => {
  const onWarning = vi.fn()
  process.on('warning', onWarning)
  try {
    const uploads = await openUploads(12, url, PATH, { bytes: 1000 })
    await new Promise((resolve) => setTimeout(resolve, 100)) // they are read

    expect(onWarning).not.toHaveBeenCalled()
    for (const { socket } of uploads) socket.destroy()
  } finally {
    process.off('warning', onWarning)
  }
})

test('a body as large as a message may be is read whole, also in many pieces', async () => {
  const message = { ...ACKNOWLEDGMENT, ignored: 'é' }
  message.ignored = 'é'.repeat((MAX_BYTES - JSON.stringify(message).length - 1) / 2)
  const text = Buffer.from(JSON.stringify(message))
  const upload = await openUpload(url, PATH, { bytes: text.byteLength, sentBytes: 0 })

  for (let start = 0; start < text.byteLength; start += 100_001) {
    upload.socket.write(text.subarray(start, start + 100_001))
    await new Promise((resolve) => setTimeout(resolve, 1)) // it comes by itself
  }

  await expect.poll(() => upload.answer, { timeout: 10_000 }).toMatch(/^HTTP\/1\.1 202 /)
  expect(server.getConnectionCount()).toBe(1) // it was understood
  upload.socket.destroy()
})

test('bodies that came whole take their part of it until the token has been checked', async () => {
  expect((await post(handshakeOf('phone'))).status).toBe(202)
  await expect.poll(() => [...server.hub.sessions.values()].every(({ isAccepted }) => isAccepted)).toBe(true)
  const before = checks // of the new session no request has needed one
  let pass = (): void => {}
  check = new Promise((resolve) => {
    pass = resolve
  })
  const whole = { bytes: 1_000_000, sentBytes: 1_000_000 }
  const uploads = await openUploads(3, url, PATH, whole)
  await expect.poll(() => checks - before).toBe(3)

  const more = await openUploads(3, url, PATH, whole)

  await expect.poll(() => closedOf(more), { timeout: 10_000 }).toBe(2)
  pass()
  const isTaken = ({ answer }: { answer: string }): boolean => /^HTTP\/1\.1 (202|410) /.test(answer)
  await expect.poll(() => [...uploads, ...more].filter(isTaken).length).toBe(4)
  for (const { socket } of [...uploads, ...more]) socket.destroy()
})

test('a body whose client goes away while its token is checked leaves nothing with the session', async () => {
  let pass = (): void => {}
  check = new Promise((resolve) => {
    pass = resolve
  })
  const before = checks
  const requests: WeakRef<IncomingMessage>[] = []
  const note = (message: unknown): void =>
    void requests.push(new WeakRef((message as { request: IncomingMessage }).request))
  subscribe('http.server.request.start', note)
  const upload = await openUpload(url, PATH, { sentBytes: 0, token: 'fresh' })
  await expect.poll(() => checks).toBe(before + 1)
  unsubscribe('http.server.request.start', note)

  upload.socket.destroy()
  await expect.poll(() => requests[0]?.deref()?.destroyed).toBe(true)
  pass()

  const isCollected = (): boolean => {
    collectGarbage()
    return requests[0]?.deref() === undefined
  }
  await expect.poll(isCollected).toBe(true)
  expect(server.getConnectionCount()).toBe(1)
})

test.each([
  ['all but the last byte', 2_999_999],
  ['nothing', 0],
])('a body of which %s has come is given up at once when its session ends', async (_, sentBytes) => {
  const upload = await openUpload(url, PATH, { bytes: 3_000_000, sentBytes })
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is read

  server.hub.disconnectAll('TOKEN_EXPIRED')

  await expect.poll(() => upload.isClosed, { timeout: 10_000 }).toBe(true)
  expect(upload.answer).toMatch(/^HTTP\/1\.1 410 /)
})

interface BegunPost {
  readonly post: ClientRequest
  /** Of the answer, whenever it comes. */
  status(): Promise<number | undefined>
  /** Sends the rest of it. */
  end(): Promise<number | undefined>
}

/** A message of which one half has come. */
async function beginPost(text: string, token = ''): Promise<BegunPost> {
  const headers = { authorization: `Bearer ${token}` }
  const post = request(`${url}${PATH}`, { method: 'POST', headers })
  const answered = once(post, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => {}) // where nobody asks
  const status = async (): Promise<number | undefined> => (await answered)[0].resume().statusCode
  const half = Math.ceil(text.length / 2)
  post.write(text.slice(0, half))
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is read
  const end = (): Promise<number | undefined> => {
    post.end(text.slice(half))
    return status()
  }
  return { post, status, end }
}

function nodes(): (string | undefined)[] {
  return [...server.hub.sessions.values()].map(({ identity }) => identity?.nodeId)
}

test('of two handshakes that come side by side the one that came last goes on, though it is whole last', async () => {
  const first = await beginPost(JSON.stringify(handshakeOf('tablet')))
  const last = await beginPost(JSON.stringify(handshakeOf('laptop')))
  const message = await beginPost(JSON.stringify(ACKNOWLEDGMENT))

  expect(await first.end()).toBe(202)
  await expect.poll(nodes).toEqual(['tablet'])

  expect(await last.end()).toBe(202)
  await expect.poll(nodes).toEqual(['laptop'])
  expect(await (await fetch(`${url}${PATH}`)).json()).toMatchObject({ type: 'handshake-response' })
  expect(await message.end()).toBe(410)
  expect(nodes()).toEqual(['laptop'])
})

test('a handshake with a fresh token is read whole, though the session ends with the old one meanwhile', async () => {
  const renewal = await beginPost(JSON.stringify(handshakeOf('phone')), 'fresh')

  server.hub.disconnectAll('TOKEN_EXPIRED')

  expect(await renewal.end()).toBe(202)
  const answer = await fetch(`${url}${PATH}`, { headers: { authorization: 'Bearer fresh' } })
  expect(await answer.json()).toMatchObject({ type: 'handshake-response', accepted: true })
})

test('once its session has ended, no more of a body is read than a handshake may have', async () => {
  const { post, status } = await beginPost('x'.repeat(1_500_000))
  server.hub.disconnectAll('TOKEN_EXPIRED')

  post.on('error', () => {}).write('x'.repeat(400_000)) // and more is to come

  expect(await status()).toBe(410)
  post.destroy()
})

test('once its session has ended, a body is given the time of a handshake', async () => {
  await stop()
  await start({ handshakeTimeoutMs: 1500 })
  const upload = await openUpload(url, PATH, { bytes: 1000 })
  await new Promise((resolve) => setTimeout(resolve, 100)) // it is read

  server.hub.disconnectAll('TOKEN_EXPIRED')

  await expect.poll(() => upload.isClosed, { timeout: 10_000 }).toBe(true)
  expect(upload.answer).toBe('')
})

test.each([
  ['has ended', () => server.hub.disconnectAll('TOKEN_EXPIRED'), 410],
  ['takes no more messages for now', () => stopReading(), 429],
])(
  'a message of a session that %s is refused before it has come, and a handshake is not',
  async (_, end, status) => {
    end()

    const upload = await openUpload(url, PATH, { bytes: 3_000_000, sentBytes: 0 })

    await expect.poll(() => upload.answer, { timeout: 10_000 }).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    upload.socket.destroy()
    await connect()
  },
)

function stopReading(): void {
  for (const session of server.hub.sessions.values()) session.stopReading()
}
