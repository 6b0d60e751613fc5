import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { exchange } from '../support/raw-http.ts'
import { type SocketClient, startSocketServer } from '../support/socket-client.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const SILENT = sized(2000, 20_000)
const WAVE = 200
const FRAGMENTS = sized(20_000, 200_000)
const LISTENERS = sized(30, 200)
const FLOOD_MS = sized(2000, 20_000)
const HANDSHAKE_TIMEOUT = 4008
/** Of one message. Those of the WebSocket library itself are 64 and 16 times as large. */
const MAX_FRAGMENTS = 256
const MAX_CHUNKS = 16_384
const BATCH = { type: 'operation-batch', isFinal: true, batchIndex: 0 }

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0)
}

describe('upgrades that never speak', () => {
  test(
    'are closed when their time is up, and keep nobody from being let in',
    async () => {
      await using server = await startSocketServer({
        store: new MemoryServerStore(),
        limits: { handshakeTimeoutMs: 1000 },
      })
      const waitsMs: number[] = []
      const codes = new Map<number, number>()
      for (let opened = 0; opened < SILENT; opened += WAVE) {
        const silent = await Promise.all(Array.from({ length: WAVE }, () => server.open()))
        const startedAt = performance.now()
        using client = await server.connect('legitimate')
        waitsMs.push(performance.now() - startedAt)
        expect(client.isEnded).toBe(false)
        for (const { ended } of silent) {
          const { code } = await ended
          codes.set(code, (codes.get(code) ?? 0) + 1)
        }
      }
      await expect.poll(() => server.server.getConnectionCount()).toBe(0)

      expect([...codes]).toEqual([[HANDSHAKE_TIMEOUT, SILENT]])
      reportFigures('silent upgrades', {
        upgrades: SILENT,
        'let in meanwhile, p99 ms': percentile(waitsMs, 0.99),
      })
    },
    timeoutMs(60_000),
  )

  test(
    'connections that never ask for one are closed as well',
    async () => {
      await using server = await startSocketServer({ store: new MemoryServerStore() })
      const port = Number(new URL(server.url).port)
      const silent = await Promise.all(
        Array.from({ length: sized(50, 1000) }, async () => {
          const socket = connect(port, '127.0.0.1').on('error', () => {})
          await once(socket, 'connect')
          return socket.resume() // a client that leaves the 408 unread never sees the end behind it
        }),
      )
      const startedAt = performance.now()
      using client = await server.connect('legitimate')
      const waitMs = Math.round(performance.now() - startedAt)
      expect(client.isEnded).toBe(false)
      // Node looks for them twice a minute: only the full size has the time to wait for that.
      const isWaitedFor = sized(0, 1) === 1
      if (isWaitedFor) {
        await Promise.all(silent.map((socket) => once(socket, 'close')))
        const afterSeconds = Math.round((performance.now() - startedAt) / 100) / 10
        reportFigures('connections that never ask', {
          connections: silent.length,
          'all closed, s after they were opened': afterSeconds,
          'ms until another was let in meanwhile': waitMs,
        })
      }
      for (const socket of silent) socket.destroy()
    },
    timeoutMs(60_000),
  )
})

describe('what unfolds once it has arrived', () => {
  test('compression is not agreed on, and a frame that claims it ends its connection', async () => {
    await using server = await startSocketServer({ store: new MemoryServerStore() })
    const port = Number(new URL(server.url).port)
    const answer = await exchange(
      port,
      'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n' +
        // "compressed" (RSV1), text, masked with zeros
        '\xc1\x85\x00\x00\x00\x00abcde',
    )

    expect(answer).toMatch(/^HTTP\/1\.1 101 /)
    expect(answer.toLowerCase()).not.toContain('sec-websocket-extensions')
    expect(answer).toContain('\x88\x02\x03\xea') // a close with 1002: it was not agreed on
    await expect.poll(() => server.server.getConnectionCount()).toBe(0)
  })

  test('a message is taken in as many fragments as are allowed, and not in one more', async () => {
    await using server = await startSocketServer({ store: new MemoryServerStore() })
    using allowed = await server.connect('allowed')
    using refused = await server.connect('refused')
    const inFragments = (client: SocketClient, count: number): void => {
      const operations = [new OperationAuthor('allowed').insert(recordIdOf('1'), { n: 1 })]
      const text = JSON.stringify({ ...BATCH, messageId: '1', operations })
      for (let i = 0; i < count - 1; i++) client.socket.send(text[i] as string, { fin: false })
      client.socket.send(text.slice(count - 1))
    }

    inFragments(allowed, MAX_FRAGMENTS)
    inFragments(refused, MAX_FRAGMENTS + 1)

    await allowed.until(() => allowed.ofType('acknowledgment').length === 1)
    expect(allowed.isEnded).toBe(false)
    expect((await refused.ended).code).toBe(1008)
  })

  test(
    'a flood of tiny fragments is refused before it costs memory',
    async () => {
      await using server = await startSocketServer({ store: new MemoryServerStore() })
      using client = await server.connect('fragments')
      using witness = await server.connect('witness')
      const before = process.memoryUsage().rss
      for (let i = 0; i < FRAGMENTS && client.socket.readyState === WebSocket.OPEN; i++) {
        client.socket.send('x', { fin: false })
        if (i % 1000 === 0) await sleep(0)
      }
      const { code } = await client.ended
      const grownMiB = Math.round((process.memoryUsage().rss - before) / 2 ** 20)

      expect(code).toBe(1008)
      expect(grownMiB).toBeLessThan(32)
      await acknowledged(witness, new OperationAuthor('witness'), 1)
      reportFigures('tiny fragments', { fragments: FRAGMENTS, 'RSS grown, client included, MiB': grownMiB })
    },
    timeoutMs(60_000),
  )

  test.runIf(IS_FULL)(
    'a frame that comes byte by byte is refused before it is whole',
    async () => {
      await using server = await startSocketServer({ store: new MemoryServerStore() })
      using client = await server.connect('byte by byte')
      const socket = underlying(client.socket)
      socket.setNoDelay(true)
      const header = Buffer.from([0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0]) // text of 65,535 bytes, masked with zeros
      socket.write(header)
      let sent = 0
      while (sent < 4 * MAX_CHUNKS && !client.isEnded) {
        socket.write('x')
        sent++
        await turn() // so that it is read before the next
      }

      expect((await client.ended).code).toBe(1008)
      expect(sent).toBeLessThan(2 * MAX_CHUNKS)
    },
    timeoutMs(60_000),
  )
})

test(
  'a flood of presence is told ten times a second at most, the last state wins, and operations go on',
  async () => {
    await using server = await startSocketServer({ store: new MemoryServerStore(), maxOpsPerMinute: 0 })
    const listeners = await Promise.all(
      Array.from({ length: LISTENERS }, (_, i) => server.connect(`listener-${i}`)),
    )
    using author = await server.connect('author')
    using writer = await server.connect('writer')
    const operations = new OperationAuthor('writer')
    const waitsMs: number[] = []
    const startedAt = performance.now()
    let sent = 0
    let written = 0
    const flood = setInterval(() => {
      while (sent < performance.now() - startedAt) present(author, ++sent) // a thousand a second
    }, 5)
    while (performance.now() - startedAt < FLOOD_MS) {
      const writtenAt = performance.now()
      await acknowledged(writer, operations, ++written)
      waitsMs.push(performance.now() - writtenAt)
      await sleep(20)
    }
    clearInterval(flood)
    const seconds = (performance.now() - startedAt) / 1000
    const lastName = `"state ${sent}"`
    await expect
      .poll(() => listeners.every(({ texts }) => texts.some((text) => text.includes(lastName))), {
        timeout: 10_000,
      })
      .toBe(true)

    const told = listeners.map((listener) => listener.ofType('awareness-update').length)
    expect(author.isEnded).toBe(false)
    expect(Math.max(...told)).toBeLessThanOrEqual(10 * (seconds + 10)) // and those of the wait for the last
    expect(Math.max(...told)).toBeLessThan(sent / 2)
    reportFigures('presence flood', {
      'updates a second': Math.round(sent / seconds),
      listeners: LISTENERS,
      'told a second at most': Math.round((Math.max(...told) / seconds) * 10) / 10,
      'write p99, ms': percentile(waitsMs, 0.99),
    })
    for (const listener of listeners) listener[Symbol.dispose]()
  },
  timeoutMs(60_000),
)

function present(author: SocketClient, number: number): void {
  const states = { '1': { user: { name: `state ${number}`, color: '#000' } } }
  author.send({ type: 'awareness-update', messageId: 'p', clientId: 1, states })
}

/** The connection below a WebSocket, on which frames are not whole. */
function underlying(webSocket: WebSocket): Socket {
  return (webSocket as unknown as { _socket: Socket })._socket // not public, and there is no other way to it
}

async function acknowledged(client: SocketClient, author: OperationAuthor, number: number): Promise<void> {
  const operations = [author.insert(recordIdOf(`${number}`), { n: number })]
  client.send({ ...BATCH, messageId: `${number}`, operations })
  await client.until(() => client.ofType('acknowledgment').length === number)
}
