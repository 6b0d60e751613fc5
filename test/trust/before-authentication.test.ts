import { describe, expect, test } from 'vitest'
import type { AuthContext } from '../../src/auth/provider.ts'
import type { ReceivedMessage, SyncMessage } from '../../src/protocol/messages.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { decodeServerMessage } from '../support/device/codec.ts'
import { encodeEnvelope } from '../support/device/protobuf.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, SocketClient, startSocketServer } from '../support/socket-client.ts'

const HASH = 'a'.repeat(64)

/** One of each message that a client may send. A new type does not compile until it is listed. */
const MESSAGES: { [Type in ReceivedMessage['type']]: object } = {
  handshake: handshakeOf('stranger'),
  'operation-batch': {
    type: 'operation-batch',
    messageId: 'b',
    operations: [new OperationAuthor('stranger').insert(recordIdOf('r'), { title: 'x' })],
    isFinal: true,
    batchIndex: 0,
  },
  acknowledgment: {
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: 'x',
    lastSequenceNumber: 0,
  },
  error: { type: 'error', messageId: 'e', code: 'X', message: 'x', retriable: false },
  'awareness-update': {
    type: 'awareness-update',
    messageId: 'p',
    clientId: 1,
    states: { '1': { user: { name: 'eve', color: '#000' } } },
  },
  'yjs-doc-update': {
    type: 'yjs-doc-update',
    messageId: 'y',
    collection: 'todos',
    recordId: 'r1',
    field: 'body',
    update: 'AAA=',
  },
  'blob-chunk-request': { type: 'blob-chunk-request', messageId: 'q', requestId: 'q1', hash: HASH },
  'blob-chunk-response': { type: 'blob-chunk-response', messageId: 'r', requestId: 'q1', bytes: null },
  'blob-chunk-push': { type: 'blob-chunk-push', messageId: 'u', hash: HASH, bytes: 'AAAA' },
}

/** A connection of either kind, as far as a stranger can get with it. */
interface Stranger {
  send(message: object): Promise<void>
  /** What the server has said until the end of the session. */
  heard(): Promise<{ type: string; code?: string }[]>
}

type Encode = (message: object) => string | Uint8Array

type Connect = (url: string, encode: Encode) => Promise<Stranger>

const overWebSocket: Connect = async (url, encode) => {
  const client = await new SocketClient(url).opened()
  return {
    send: async (message) => client.socket.send(encode(message)),
    async heard() {
      await client.ended
      return client.received
    },
  }
}

const overPolling: Connect = async (url, encode) => {
  const endpoint = `${url.replace(/^ws/, 'http')}?client=${crypto.randomUUID()}`
  return {
    async send(message) {
      const body = encode(message)
      const form = typeof body === 'string' ? 'json' : 'x-protobuf'
      const headers = { 'content-type': `application/${form}` }
      const { status } = await fetch(endpoint, { method: 'POST', body: Buffer.from(body), headers })
      expect([202, 410]).toContain(status)
    },
    async heard() {
      const heard: { type: string }[] = []
      for (;;) {
        const response = await fetch(endpoint)
        const isBinary = response.headers.get('content-type')?.includes('protobuf') === true
        const body = Buffer.from(await response.arrayBuffer())
        if (response.status === 200) heard.push(decodeServerMessage(isBinary ? body : body.toString()))
        else if (response.status === 410 || heard.length === 0) return heard
      }
    },
  }
}

/** A token is checked until the test answers; the witness is let in at once. */
function slowAuth() {
  const waiting: ((context: AuthContext | null) => void)[] = []
  return {
    answerAll: (context: AuthContext | null) => {
      for (const answer of waiting.splice(0)) answer(context)
    },
    get isAsked() {
      return waiting.length > 0
    },
    authenticate(token: string): Promise<AuthContext | null> {
      if (token === 'witness') return Promise.resolve({ userId: 'witness' })
      return new Promise((resolve) => waiting.push(resolve))
    },
  }
}

async function openServer() {
  const store = new MemoryServerStore()
  const auth = slowAuth()
  const chunks: string[] = []
  const server = await startSocketServer({
    store,
    auth,
    persistBlobChunk: async (hash) => void chunks.push(hash),
    resolveBlobChunk: async () => null,
  })
  const witness = await server.open()
  witness.send(handshakeOf('witness', {}, { authToken: 'witness' }))
  await witness.until(() => witness.ofType('operation-batch').length > 0)
  return {
    server,
    auth,
    async expectNothingHappened() {
      expect(await store.getOperationCount()).toBe(0)
      expect(chunks).toEqual([])
      expect(witness.received.map(({ type }) => type)).toEqual(['handshake-response', 'operation-batch'])
    },
    async [Symbol.asyncDispose]() {
      witness[Symbol.dispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

/** On a machine that others keep busy, too. */
const SOON = { timeout: 10_000 }

const TYPES = Object.entries(MESSAGES)
const OTHERS = TYPES.filter(([type]) => type !== 'handshake')

const asJson: Encode = (message) => JSON.stringify(message)
const asProtobuf: Encode = (message) => encodeEnvelope(message as SyncMessage) // each of MESSAGES is one
/** What of them is no more than its type in binary, and cannot be read. */
const WITHOUT_BINARY_FORM = ['awareness-update', 'yjs-doc-update']

describe.each([
  ['WebSocket', 'JSON', overWebSocket, asJson],
  ['WebSocket', 'protobuf', overWebSocket, asProtobuf],
  ['polling', 'JSON', overPolling, asJson],
  ['polling', 'protobuf', overPolling, asProtobuf],
])('nothing is done before authentication, over %s in %s', (kind, form, connect, encode) => {
  test.concurrent.each(OTHERS)('%s as the first message', async (type, message) => {
    await using fixture = await openServer()
    const stranger = await connect(fixture.server.url, encode)

    await stranger.send(message)

    // A poll without a handshake belongs to no session, and none is opened for it.
    const isRead = form === 'JSON' || !WITHOUT_BINARY_FORM.includes(type)
    const code = isRead ? 'HANDSHAKE_REQUIRED' : 'PROTOCOL_ERROR'
    expect(await stranger.heard()).toMatchObject(kind === 'polling' ? [] : [{ type: 'error', code }])
    await fixture.expectNothingHappened()
  })

  test.each(TYPES)('%s while the token is checked', async (_type, message) => {
    await using fixture = await openServer()
    const stranger = await connect(fixture.server.url, encode)
    await stranger.send(MESSAGES.handshake)
    await expect.poll(() => fixture.auth.isAsked, SOON).toBe(true)

    await stranger.send(message)
    if (kind === 'polling') {
      fixture.auth.answerAll(null) // it was refused by itself, as if it were of an earlier session
    } else {
      await expect.poll(() => fixture.server.server.getConnectionCount(), SOON).toBe(1)
      fixture.auth.answerAll({ userId: 'stranger' })
    }

    const code = kind === 'polling' ? 'AUTH_FAILED' : 'HANDSHAKE_REQUIRED'
    expect(await stranger.heard()).toMatchObject([{ type: 'error', code }])
    await fixture.expectNothingHappened()
  })

  test.each(TYPES)('%s after the token was refused', async (type, message) => {
    await using fixture = await openServer()
    const stranger = await connect(fixture.server.url, encode)
    await stranger.send(MESSAGES.handshake)
    await expect.poll(() => fixture.auth.isAsked, SOON).toBe(true)
    fixture.auth.answerAll(null)
    await expect.poll(() => fixture.server.server.getConnectionCount(), SOON).toBe(1)

    await stranger.send(message).catch(() => {})
    if (kind === 'polling' && type === 'handshake') {
      await expect.poll(() => fixture.auth.isAsked, SOON).toBe(true) // a new session, refused like the first
      fixture.auth.answerAll(null)
    }

    expect(await stranger.heard()).toMatchObject([{ type: 'error', code: 'AUTH_FAILED' }])
    await fixture.expectNothingHappened()
  })

  test.each(TYPES)('%s after a second handshake', async (_type, message) => {
    await using fixture = await openServer()
    const { sessions } = fixture.server.server.hub
    const acceptedCount = (): number => [...sessions.values()].filter(({ isAccepted }) => isAccepted).length
    const stranger = await connect(fixture.server.url, encode)
    await stranger.send(MESSAGES.handshake)
    await expect.poll(() => fixture.auth.isAsked, SOON).toBe(true)
    fixture.auth.answerAll({ userId: 'stranger' })
    await expect.poll(acceptedCount, SOON).toBe(2) // it and the witness

    await stranger.send(MESSAGES.handshake)
    await stranger.send(message)
    fixture.auth.answerAll(null) // over polling each begins another session, which is refused

    const welcome = [{ type: 'handshake-response' }, { type: 'operation-batch' }]
    const error = { type: 'error', code: kind === 'polling' ? 'AUTH_FAILED' : 'DUPLICATE_HANDSHAKE' }
    expect(await stranger.heard()).toMatchObject(kind === 'polling' ? [error] : [...welcome, error])
    await fixture.expectNothingHappened()
  })
})
