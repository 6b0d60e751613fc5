import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { Bystander, type Observation } from '../support/bystander.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { forgetPeak, mebibytes, memoryOf } from '../support/process-memory.ts'
import { handshakeOf, SocketClient, startSocketServer } from '../support/socket-client.ts'
import { percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const MEGABYTE = 1024 * 1024
const ENTRIES = 1_000_000
const STRANGERS = 20
/** What the largest handshake costs, and what is read of it before it is refused. */
const MAX_GROWTH_BYTES = 32 * MEGABYTE
/** Of the gate: how long a process may have to wait for a core of a busy machine. */
const MAX_HELD_MS = sized(2000, 100)

/** As text: an object of a million properties takes seconds to build. */
function withVector(entries: number): string {
  const vector = Array.from({ length: entries }, (_, i) => `"node-${i}-${'x'.repeat(30)}":${i}`).join()
  return JSON.stringify(handshakeOf('a')).replace('"versionVector":{}', `"versionVector":{${vector}}`)
}

const SUBSETS = Array.from({ length: 10_000 }, (_, i) => ({ collection: 'todos', where: { n: i } }))

const GIANTS: [string, () => string][] = [
  [`a vector of ${ENTRIES} entries`, () => withVector(ENTRIES)],
  ['10 000 subsets', () => JSON.stringify(handshakeOf('a', {}, { syncQueries: SUBSETS }))],
  ['100 MB of nothing', () => ' '.repeat(100 * MEGABYTE)],
  ['30 MB in one operation', () => `{"type":"operation-batch","x":"${'x'.repeat(30 * MEGABYTE)}"}`],
]

describe('of a stranger', () => {
  let daemon: Daemon
  let bystander: Bystander

  beforeAll(async () => {
    daemon = await startDaemon()
    bystander = await Bystander.start({
      url: daemon.url,
      token: '',
      maxWaitMs: 20_000,
      task: 'ask',
      pauseMs: 1,
    })
  })

  afterAll(async () => {
    await bystander[Symbol.asyncDispose]()
    await daemon[Symbol.asyncDispose]()
  })

  /** Asserts that it cost neither memory nor time. */
  async function expectCheap(name: string, attack: () => Promise<void>): Promise<void> {
    const before = memoryOf(daemon.pid).rssBytes
    forgetPeak(daemon.pid)
    const { waitsMs }: Observation = await bystander.during(attack)
    const grownBytes = memoryOf(daemon.pid).peakBytes - before
    const heldMs = percentile(waitsMs, 1)

    reportFigures(name, {
      'RSS grown at most, MiB': mebibytes(grownBytes),
      'ms another waited at most': heldMs,
    })
    expect(grownBytes).toBeLessThanOrEqual(MAX_GROWTH_BYTES)
    expect(heldMs).toBeLessThan(MAX_HELD_MS)
  }

  test.each(GIANTS)(
    '%s is refused before it is taken in',
    async (name, make) => {
      const text = Buffer.from(make())
      using stranger = await new SocketClient(daemon.url).opened()

      await expectCheap(`giant handshake, ${name}`, async () => {
        stranger.socket.send(text, { binary: false })
        const { code } = await stranger.ended
        expect([1006, 1009, 4002]).toContain(code)
      })

      expect(stranger.ofType('handshake-response')).toEqual([])
    },
    timeoutMs(30_000),
  )

  test(
    `${STRANGERS} frames that never end do not make the server hold more than a handshake each`,
    async () => {
      const chunk = Buffer.alloc(MEGABYTE)
      const header = Buffer.alloc(14) // text, masked with zeros, of 30 MB
      header[0] = 0x81
      header[1] = 0xff
      header.writeBigUInt64BE(BigInt(30 * MEGABYTE), 2)

      await expectCheap(`${STRANGERS} unfinished frames of 30 MB`, async () => {
        const ends = Array.from({ length: STRANGERS }, async () => {
          const socket = connect(Number(new URL(daemon.url).port), '127.0.0.1').on('error', () => {})
          const closed = new Promise((resolve) => socket.once('close', resolve))
          socket.write(UPGRADE)
          await once(socket, 'data')
          socket.resume()
          socket.write(header)
          for (let i = 0; i < 29; i++) socket.write(chunk)
          await closed
        })
        await Promise.all(ends)
      })
    },
    timeoutMs(30_000),
  )
})

const POSTS = 300
/** With what is not collected yet of those that were given up. */
const MAX_POSTED_BYTES = 128 * MEGABYTE

test(
  `${POSTS} bodies of POSTs that never end are given up, and hold no more than what all of them may`,
  async () => {
    await using daemon = await startDaemon()
    const before = memoryOf(daemon.pid).rssBytes
    forgetPeak(daemon.pid)

    const ends = Array.from({ length: POSTS }, async (_, index) => {
      const socket = connect(Number(new URL(daemon.url).port), '127.0.0.1').on('error', () => {})
      const closed = new Promise((resolve) => socket.once('close', resolve))
      socket.resume()
      socket.write(`POST /?client=${index} HTTP/1.1\r\nHost: a\r\nContent-Length: ${MEGABYTE}\r\n\r\n`)
      socket.write(Buffer.alloc(MEGABYTE - 1))
      await closed
    })
    await Promise.all(ends)

    const grownBytes = memoryOf(daemon.pid).peakBytes - before
    reportFigures(`${POSTS} unfinished POSTs of 1 MB`, { 'RSS grown at most, MiB': mebibytes(grownBytes) })
    expect(grownBytes).toBeLessThanOrEqual(MAX_POSTED_BYTES)
  },
  timeoutMs(60_000),
)

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

test('a full batch is taken from who has authenticated', async () => {
  await using server = await startSocketServer({ store: new MemoryServerStore() })
  using client = await server.connect('phone')

  client.send({
    type: 'operation-batch',
    messageId: 'b',
    operations: [],
    isFinal: true,
    batchIndex: 0,
    ignored: 'x'.repeat(4 * MEGABYTE),
  })
  await client.until(() => client.ofType('acknowledgment').length === 1)

  expect(client.isEnded).toBe(false)
})
