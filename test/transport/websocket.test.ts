import { expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import { type Logger, silentLogger } from '../../src/core/logger.ts'
import type { KoraSyncServerConfig } from '../../src/http/kora-sync-server.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { sha256 } from '../support/blobs.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openSlowNetwork } from '../support/slow-network.ts'
import {
  fastRuntime,
  handshakeOf,
  pushed,
  SocketClient,
  startSocketServer,
} from '../support/socket-client.ts'

test('a client that is not read for a while, because it sends too much, is not taken for dead', async () => {
  await using server = await startSocketServer({
    store: new MemoryServerStore(),
    maxOpsPerMinute: 600,
    limits: { idleTimeoutMs: 1000 }, // the last fifty are let in over five seconds
  })
  using client = await server.connect('phone')
  const author = new OperationAuthor('phone')
  const text = 'x'.repeat(5000)
  for (let number = 0; number < 100; number++) {
    const operations = Array.from({ length: 10 }, (_, i) =>
      author.insert(recordIdOf(`${number} ${i}`), { text }),
    )
    client.send({ type: 'operation-batch', messageId: `${number}`, operations, isFinal: true, batchIndex: 0 })
  }

  await client.until(() => client.ofType('acknowledgment').length === 65)

  expect(client.isEnded).toBe(false)
  expect(client.ofType('acknowledgment')).toHaveLength(65)
}, 30_000)

test('an origin that may not connect does not by an older version of the protocol either', async () => {
  await using server = await startSocketServer({
    store: new MemoryServerStore(),
    allowedOrigins: ['https://app.example.com'],
  })
  const socket = new WebSocket(server.url, { protocolVersion: 8, origin: 'https://evil.example.com' })

  const answer = await new Promise((resolve) => {
    socket.on('unexpected-response', (_request, { statusCode, headers }) => {
      resolve([statusCode, headers['sec-websocket-version'], headers.upgrade, headers.connection])
      socket.terminate()
    })
    socket.on('open', () => resolve('open'))
    socket.on('error', () => {})
  })
  socket.terminate()

  expect(answer).toEqual([426, '13', 'websocket', 'upgrade, close'])
})

test('a client that answers nothing is closed', async () => {
  await using server = await startSocketServer({
    store: new MemoryServerStore(),
    limits: { idleTimeoutMs: 200 },
  })
  using client = await server.connect('phone')

  client.socket.pause() // answers no ping

  await expect.poll(() => server.server.getConnectionCount()).toBe(0)
})

test('not all are pinged at once, and each once in half of the idle timeout', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  onTestFinished(() => void vi.useRealTimers())
  const CLIENTS = 64
  const HALF_MS = 11_250 // of a round of pings
  await using server = await startSocketServer({ store: new MemoryServerStore() })
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => server.open()))
  const pings = new Map<SocketClient, number>()
  for (const client of clients) {
    client.socket.on('ping', () => pings.set(client, (pings.get(client) ?? 0) + 1))
  }

  vi.advanceTimersByTime(HALF_MS)
  await expect.poll(() => pings.size).toBe(CLIENTS / 2)
  vi.advanceTimersByTime(HALF_MS)
  await expect.poll(() => pings.size).toBe(CLIENTS)

  expect([...pings.values()]).toEqual(Array(CLIENTS).fill(1))
})

test('who takes nothing of a full buffer is ended as slow, not as dead', async () => {
  const closes: unknown[] = []
  const logger: Logger = {
    ...silentLogger,
    debug: ({ code }, message) => {
      if (message === LOG_EVENTS.sessionClosed.message) closes.push(code)
    },
    child: () => logger,
  }
  await using server = await startSocketServer({
    store: new MemoryServerStore(),
    logger,
    runtime: fastRuntime(8), // its half minute is longer than two seconds
    limits: { idleTimeoutMs: 2000, handshakeTimeoutMs: 60_000 },
    persistBlobChunk: async () => {},
    resolveBlobChunk: async () => Buffer.alloc(8 * 1024 * 1024),
  })
  using client = await server.connect('phone')
  const hash = sha256(Buffer.alloc(8 * 1024 * 1024))
  const file = { hash, size: 1, manifestHash: hash }
  await pushed(client, [new OperationAuthor('phone').insert(recordIdOf('file'), { file })], 'b')

  client.send({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash })
  client.socket.pause()

  await expect.poll(() => closes, { timeout: 20_000 }).toEqual([4010])
}, 30_000)

test.concurrent.each<[string, Partial<KoraSyncServerConfig>]>([
  ['blocked', { runtime: fastRuntime(8), limits: { handshakeTimeoutMs: 60_000 } }],
  ['dead', { limits: { idleTimeoutMs: 6000 } }],
])(
  'a client that goes on reading one large message is not taken for %s',
  async (_what, config) => {
    const chunk = Buffer.alloc(8 * 1024 * 1024, 'x')
    await using server = await startSocketServer({
      store: new MemoryServerStore(),
      persistBlobChunk: async () => {},
      resolveBlobChunk: async () => chunk,
      ...config,
    })
    using network = await openSlowNetwork(Number(new URL(server.url).port), 700_000)
    using client = await new SocketClient(`ws://127.0.0.1:${network.port}`).opened()
    client.send(handshakeOf('phone'))
    await client.until(() => client.ofType('operation-batch').length > 0)
    const hash = sha256(chunk)
    const file = { hash, size: chunk.byteLength, manifestHash: hash }
    await pushed(client, [new OperationAuthor('phone').insert(recordIdOf('file'), { file })], 'b')

    client.send({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash })
    await client.until(() => client.ofType('blob-chunk-response').length > 0)

    expect(client.isEnded).toBe(false)
    expect(client.ofType('blob-chunk-response')[0]?.bytes?.length).toBe(Math.ceil(chunk.byteLength / 3) * 4)
  },
  60_000,
)
