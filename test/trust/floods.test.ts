import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { Bystander, type BystanderTask } from '../support/bystander.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { forgetPeak, mebibytes, memoryOf } from '../support/process-memory.ts'
import { exchange } from '../support/raw-http.ts'
import { handshakeOf, SocketClient, startSocketServer } from '../support/socket-client.ts'
import { IS_FULL, percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const SILENT = sized(2000, 20_000)
const WAVE = sized(1000, 500) // at once; at full size no more than a busy server meets, for the p99
const FRAGMENTS = 200_000
const GIGABYTE = 2 ** 30
const LISTENERS = 200
const FLOOD_MS = sized(2000, 20_000)
const IDLE_MS = sized(500, 20_000)
const HANDSHAKE_TIMEOUT = 4008
/** Of the gate: what another may have to wait on a machine that is busy with the flood itself. */
const MAX_WAIT_MS = 10_000
/** What a silent connection may last beyond its time: the server looks once a second, on a busy machine later. */
const SLACK_MS = sized(5000, 2000)
/** Of one message of 32 MiB at most. Those of the WebSocket library itself are 128 and 64 times as large. */
const MAX_FRAGMENTS = 1024
const MAX_CHUNKS = 16_384
const BATCH = { type: 'operation-batch', isFinal: true, batchIndex: 0 }

const HANDSHAKE_TIMEOUT_MS = 1000
const CONFIG = { limits: { maxOpsPerMinute: 0, handshakeTimeout: HANDSHAKE_TIMEOUT_MS } }

let daemon: Daemon

beforeAll(async () => {
  const args = IS_FULL ? [] : ['--log-level', 'debug'] // which says how sessions were closed
  daemon = await startDaemon({ args, files: { 'kora.config.json': JSON.stringify(CONFIG) } })
})

afterAll(() => daemon[Symbol.asyncDispose]())

function startBystander(task: BystanderTask): Promise<Bystander> {
  return Bystander.start({ url: daemon.url, token: '', maxWaitMs: 2 * MAX_WAIT_MS, task })
}

describe('upgrades that never speak', () => {
  /** As the server says it. */
  const timedOutCount = (): number =>
    daemon.log.filter(
      ({ msg, code }) => msg === LOG_EVENTS.sessionClosed.message && code === HANDSHAKE_TIMEOUT,
    ).length

  /** Asks anew where a busy machine let the time of a handshake pass before the request was read. */
  async function openUpgrade(): Promise<SocketClient> {
    for (;;) {
      const client = await new SocketClient(daemon.url).opened()
      if (!client.isEnded) return client
    }
  }

  /** @returns the codes that they are closed with, by how often, and how long the last one of a wave was open */
  async function openSilent(count: number): Promise<{ codes: Map<number, number>; longestMs: number }> {
    const codes = new Map<number, number>()
    let longestMs = 0
    for (let opened = 0; opened < count; opened += WAVE) {
      const silent = await Promise.all(Array.from({ length: WAVE }, openUpgrade))
      const openedAt = performance.now()
      for (const { ended } of silent) {
        const { code } = await ended
        codes.set(code, (codes.get(code) ?? 0) + 1)
      }
      longestMs = Math.max(longestMs, performance.now() - openedAt)
    }
    return { codes, longestMs }
  }

  test(
    'are closed when their time is up, hold no memory, and keep nobody from being let in',
    async () => {
      await using bystander = await startBystander('connect')
      if (IS_FULL) await openSilent(4 * WAVE) // what the first ones load is not theirs
      const rssBytes = memoryOf(daemon.pid).rssBytes
      let silent: Awaited<ReturnType<typeof openSilent>> | undefined

      const { waitsMs, closes } = await bystander.during(async () => {
        silent = await openSilent(SILENT)
      })

      const waitMs = percentile(waitsMs, 0.99)
      if (IS_FULL) expect([...(silent?.codes ?? [])]).toEqual([[HANDSHAKE_TIMEOUT, SILENT]])
      else {
        await expect.poll(timedOutCount, { timeout: 10_000 }).toBe(SILENT)
        // Who does not answer the close in time is cut, and may not read it any more: clients of a process that is held up.
        for (const code of silent?.codes.keys() ?? []) expect([HANDSHAKE_TIMEOUT, 1006]).toContain(code)
      }
      expect(silent?.longestMs).toBeLessThan(HANDSHAKE_TIMEOUT_MS + SLACK_MS)
      expect(closes).toBe(0)
      expect(waitMs).toBeLessThan(sized(MAX_WAIT_MS, 1000))
      // Of few, what a process takes at its own pace would be most: only many are compared.
      if (IS_FULL) {
        await expect
          .poll(() => memoryOf(daemon.pid).rssBytes, { timeout: 60_000, interval: 1000 })
          .toBeLessThan(1.1 * rssBytes)
      }
      reportFigures('silent upgrades', {
        upgrades: SILENT,
        'closed after at most, s': Math.round((silent?.longestMs ?? 0) / 100) / 10,
        'let in meanwhile, p99 ms': waitMs,
        'RSS before, MiB': mebibytes(rssBytes),
        'RSS after, MiB': mebibytes(memoryOf(daemon.pid).rssBytes),
      })
    },
    timeoutMs(60_000),
  )

  test(
    'connections that never ask for one are closed as well, as soon',
    async () => {
      const port = Number(new URL(daemon.url).port)
      const startedAt = performance.now()
      const silent = await Promise.all(
        Array.from({ length: 1000 }, async () => {
          const socket = connect(port, '127.0.0.1').on('error', () => {})
          await once(socket, 'connect')
          return socket.resume() // a client that leaves the 408 unread never sees the end behind it
        }),
      )
      const openedAt = performance.now()
      using client = await connected('legitimate')
      const waitMs = Math.round(performance.now() - openedAt)
      expect(client.isEnded).toBe(false)
      expect(waitMs).toBeLessThan(sized(MAX_WAIT_MS, 1000))

      await Promise.all(silent.map((socket) => socket.closed || once(socket, 'close')))
      const afterMs = performance.now() - openedAt
      reportFigures('connections that never ask', {
        connections: silent.length,
        'ms until they were opened': Math.round(openedAt - startedAt),
        'all closed, s after that': Math.round(afterMs / 100) / 10,
        'ms until another was let in meanwhile': waitMs,
      })
      expect(afterMs).toBeLessThan(HANDSHAKE_TIMEOUT_MS + SLACK_MS)
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
    await expect.poll(() => server.server.getConnectionCount(), { timeout: 10_000 }).toBe(0)
  })

  test('a frame that would inflate to a gigabyte ends its connection, and is not inflated', async () => {
    const socket = new WebSocket(daemon.url, { perMessageDeflate: true })
    await once(socket, 'open')
    const rssBytes = memoryOf(daemon.pid).rssBytes
    forgetPeak(daemon.pid)

    const bomb = deflatedZeros(GIGABYTE)
    underlying(socket).write(compressedFrameHeader(bomb.length))
    underlying(socket).write(bomb)
    const [code] = await once(socket, 'close')

    const grownBytes = memoryOf(daemon.pid).peakBytes - rssBytes
    reportFigures('compressed gigabyte', {
      'bytes sent': bomb.length,
      'RSS grown at most, MiB': mebibytes(grownBytes),
    })
    expect(socket.extensions).toBe('')
    expect(code).toBe(1002) // nobody agreed on compression
    expect(grownBytes).toBeLessThan(32 * 2 ** 20)
  })

  test('a message is taken in as many fragments as are allowed, and not in one more', async () => {
    await using server = await startSocketServer({ store: new MemoryServerStore() })
    using allowed = await server.connect('allowed')
    using refused = await server.connect('refused')
    const inFragments = (client: SocketClient, count: number): void => {
      const title = 'x'.repeat(MAX_FRAGMENTS)
      const operations = [new OperationAuthor('allowed').insert(recordIdOf('1'), { title })]
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

  test('a message that is announced as larger than any may be is refused before it comes', async () => {
    await using server = await startSocketServer({ store: new MemoryServerStore() })
    using client = await server.connect('giant')
    const header = Buffer.alloc(14) // text, masked with zeros, of a gigabyte
    header[0] = 0x81
    header[1] = 0xff
    header.writeBigUInt64BE(BigInt(2 ** 30), 2)

    underlying(client.socket).write(header)

    await expect.poll(() => client.isEnded, { timeout: 5000 }).toBe(true)
    expect((await client.ended).code).toBe(1009)
  })

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
    await using bystander = await startBystander('write')
    const listeners = await Promise.all(
      Array.from({ length: LISTENERS }, (_, i) => connected(`listener-${i}`)),
    )
    using author = await connected('author')
    const idle = await bystander.during(() => sleep(IDLE_MS))
    let sent = 0
    let seconds = 0

    const { waitsMs, closes } = await bystander.during(async () => {
      const startedAt = performance.now()
      const flood = setInterval(() => {
        while (sent < performance.now() - startedAt) present(author, ++sent) // a thousand a second
      }, 5)
      await sleep(FLOOD_MS)
      clearInterval(flood)
      const lastName = `"state ${sent}"`
      await Promise.all(
        listeners.map((listener) => listener.until(() => lastPresence(listener).includes(lastName))),
      )
      seconds = (performance.now() - startedAt) / 1000
    })

    const told = listeners.map((listener) => listener.ofType('awareness-update').length)
    const idleMs = percentile(idle.waitsMs, 0.99)
    const waitMs = percentile(waitsMs, 0.99)
    reportFigures('presence flood', {
      'updates a second': Math.round(sent / seconds),
      listeners: LISTENERS,
      'told a second at most': Math.round((Math.max(...told) / seconds) * 10) / 10,
      'write p99, ms': waitMs,
      'write p99 before, ms': idleMs,
    })
    expect(author.isEnded || listeners.some(({ isEnded }) => isEnded)).toBe(false)
    expect(closes).toBe(0)
    expect(Math.max(...told)).toBeLessThanOrEqual(10 * seconds + 2) // at the start and the end of the time
    expect(waitMs).toBeLessThan(sized(MAX_WAIT_MS, 2 * idleMs))
    for (const listener of listeners) listener[Symbol.dispose]()
  },
  timeoutMs(60_000),
)

async function connected(nodeId: string): Promise<SocketClient> {
  const client = await new SocketClient(daemon.url).opened()
  client.send(handshakeOf(nodeId))
  await client.until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
  return client
}

/** What it was told last of the others. */
function lastPresence(listener: SocketClient): string {
  return JSON.stringify(listener.received.findLast(({ type }) => type === 'awareness-update') ?? null)
}

function present(author: SocketClient, number: number): void {
  const states = { '1': { user: { name: `state ${number}`, color: '#000' } } }
  author.send({ type: 'awareness-update', messageId: 'p', clientId: 1, states })
}

/** The connection below a WebSocket, on which frames are not whole. */
function underlying(webSocket: WebSocket): Socket {
  return (webSocket as unknown as { _socket: Socket })._socket // not public, and there is no other way to it
}

/** Zeros as raw deflate data: one megabyte, flushed so that nothing refers to it, again and again. */
function deflatedZeros(bytes: number): Buffer {
  const megabyte = deflateRawSync(Buffer.alloc(2 ** 20), { finishFlush: constants.Z_FULL_FLUSH })
  const twice = inflateRawSync(Buffer.concat([megabyte, megabyte]), { finishFlush: constants.Z_SYNC_FLUSH })
  expect(twice).toHaveLength(2 ** 21)
  return Buffer.concat(Array.from({ length: bytes / 2 ** 20 }, () => megabyte))
}

/** Of one text frame that is "compressed" (RSV1), and masked with zeros. */
function compressedFrameHeader(bytes: number): Buffer {
  const header = Buffer.alloc(14)
  header[0] = 0xc1
  header[1] = 0xff
  header.writeBigUInt64BE(BigInt(bytes), 2)
  return header
}

async function acknowledged(client: SocketClient, author: OperationAuthor, number: number): Promise<void> {
  const operations = [author.insert(recordIdOf(`${number}`), { n: number })]
  client.send({ ...BATCH, messageId: `${number}`, operations })
  await client.until(() => client.ofType('acknowledgment').length === number)
}
