import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { Bystander } from '../support/bystander.ts'
import { sleep } from '../support/cluster.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { forgetPeak, mebibytes, memoryOf } from '../support/process-memory.ts'
import { fastRuntime, handshakeOf, SocketClient, startSocketServer } from '../support/socket-client.ts'
import { IS_FULL, percentile, reportFigures, timeoutMs } from '../support/trust.ts'

const OPERATIONS = 20_000
const TEXT = 'x'.repeat(300)
const MEGABYTE = 1024 * 1024
const MAX_BUFFERED_BYTES = 4 * MEGABYTE // limits.maxBufferedBytes
const SLOW_CONSUMER = 4010
const NEVER_ACKNOWLEDGING_MS = 300_000
const SPEED = 20 // of simulated time
/** Who reads nothing at all answers no ping either: it may be found dead before it is found slow. */
const CODES = [SLOW_CONSUMER, 1006]

/** A log of some 10 MB, and the author who goes on with it. */
let directory: ReturnType<typeof temporaryDirectory>
const author = new OperationAuthor('author')
let logBytes = 0
let written = 0

beforeAll(async () => {
  directory = temporaryDirectory()
  await using store = openStore()
  for (let start = 0; start < OPERATIONS; start += 1000) {
    const operations = Array.from({ length: 1000 }, (_, i) =>
      author.insert(recordIdOf(`${start + i}`), { title: TEXT }),
    )
    logBytes += JSON.stringify(operations).length
    await appendAll(store, operations)
  }
})

afterAll(() => directory[Symbol.dispose]())

function openStore() {
  const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal' })
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() })
}

/** Everybody's next live operation. */
function nextBatch(): object {
  const operations = [author.insert(recordIdOf(`live ${written++}`), { title: TEXT })]
  return { type: 'operation-batch', messageId: `${written}`, operations, isFinal: true, batchIndex: 0 }
}

test('readers that do not read hold a bounded buffer, are closed, and harm nobody', async () => {
  await using store = openStore()
  await using server = await startSocketServer({ store, runtime: fastRuntime(SPEED) })
  const slow = await Promise.all(Array.from({ length: 20 }, () => server.open()))
  const startedAt = performance.now()
  for (const [i, client] of slow.entries()) {
    client.send(handshakeOf(`slow${i}`))
    client.socket.pause()
  }
  using writer = await server.connect('author', {}, { lastDeliverySequence: OPERATIONS })
  let mostBuffered = 0
  let mostWaited = 0
  while (server.server.getConnectionCount() > 1 && performance.now() - startedAt < 20_000) {
    const sentAt = performance.now()
    writer.send(nextBatch())
    const count = written
    await writer.until(() =>
      writer.ofType('acknowledgment').some((each) => each.acknowledgedMessageId === `${count}`),
    )
    mostWaited = Math.max(mostWaited, performance.now() - sentAt)
    for (const session of server.server.hub.sessions.values()) {
      mostBuffered = Math.max(mostBuffered, session.bufferedBytes)
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const simulatedSeconds = ((performance.now() - startedAt) * SPEED) / 1000

  expect(server.server.getConnectionCount()).toBe(1)
  expect(mostBuffered).toBeLessThan(MAX_BUFFERED_BYTES)
  reportFigures('slow readers, simulated time', {
    readers: slow.length,
    'KiB buffered at most': Math.round(mostBuffered / 1024),
    'closed after, s': Math.round(simulatedSeconds),
    'a write waited at most, ms': Math.round(mostWaited),
  })
  for (const client of slow) {
    client.socket.resume()
    const { code } = await client.ended
    expect([SLOW_CONSUMER, 1006]).toContain(code) // the reason may not get through to who does not read
  }
}, 60_000)

test('a reader that never acknowledges is sent at most twice the log, and closed', async () => {
  await using store = openStore()
  await using server = await startSocketServer({ store, runtime: fastRuntime(SPEED) })
  using client = await server.open()
  client.acknowledges = false

  client.send(handshakeOf('mute'))
  const end = await Promise.race([client.ended, sleep(NEVER_ACKNOWLEDGING_MS / SPEED)])

  const sentBytes = client.texts.reduce((sum, text) => sum + text.length, 0)
  reportFigures('never acknowledging', { 'bytes sent': sentBytes, 'bytes of the log': logBytes })
  expect(sentBytes).toBeLessThan(2 * logBytes)
  expect(end).toMatchObject({ code: SLOW_CONSUMER })
}, 60_000)

// Takes minutes: this is what the simulated time above stands for.
test.runIf(IS_FULL)(
  'slow readers of a daemon cost what they may, are closed in time, and harm nobody',
  async () => {
    const config = JSON.stringify({ limits: { maxOpsPerMinute: 0 } })
    await using daemon = await startDaemon({
      args: ['--db', `${directory.path}/a.db`, '--log-level', 'debug'],
      files: { 'kora.config.json': config },
    })
    await using bystander = await Bystander.start({ url: daemon.url, token: '', maxWaitMs: 20_000 })
    const before = await bystander.during(() => new Promise((resolve) => setTimeout(resolve, 20_000)))
    const idleMs = percentile(before.waitsMs, 0.99)

    for (const { readers, maxGrowthBytes } of [
      { readers: 1, maxGrowthBytes: MAX_BUFFERED_BYTES + 16 * MEGABYTE },
      { readers: 100, maxGrowthBytes: 200 * MEGABYTE },
    ]) {
      const rssBytes = memoryOf(daemon.pid).rssBytes
      forgetPeak(daemon.pid)
      let closed: Closed = { count: 0, longestMs: 0 }
      const { waitsMs, closes } = await bystander.during(async () => {
        closed = await untilClosed(daemon, readers)
      })

      const grownBytes = memoryOf(daemon.pid).peakBytes - rssBytes
      const waitMs = percentile(waitsMs, 0.99)
      reportFigures('slow readers', {
        readers,
        'RSS grown at most, MiB': mebibytes(grownBytes),
        'closed after at most, s': Math.round(closed.longestMs / 100) / 10,
        'another waited, p99, ms': waitMs,
        'without them, p99, ms': idleMs,
      })
      expect(closed.count).toBe(readers)
      expect(closed.longestMs).toBeLessThanOrEqual(30_000)
      expect(grownBytes).toBeLessThanOrEqual(maxGrowthBytes)
      expect(closes).toBe(0)
      expect(waitMs).toBeLessThan(2 * idleMs)
    }
  },
  timeoutMs(300_000),
)

interface Closed {
  /** Sessions that were closed. */
  readonly count: number
  readonly longestMs: number
}

/** Opens readers that ask for everything and read nothing, and waits until the daemon has closed them. */
async function untilClosed(daemon: Daemon, readers: number): Promise<Closed> {
  const since = daemon.log.length
  const clients = await Promise.all(
    Array.from({ length: readers }, () => new SocketClient(daemon.url).opened()),
  )
  for (const [i, client] of clients.entries()) {
    client.send(handshakeOf(`slow${i}`))
    client.socket.pause()
  }
  const closedLines = () =>
    daemon.log
      .slice(since)
      .filter(({ msg, code }) => msg === 'session closed' && CODES.includes(Number(code)))
  await expect.poll(() => closedLines().length, { timeout: 60_000, interval: 500 }).toBe(readers)
  for (const client of clients) client[Symbol.dispose]()

  const openedAt = new Map(
    daemon.log
      .filter(({ msg }) => msg === 'session opened')
      .map(({ sessionId, time }) => [sessionId, Date.parse(String(time))]),
  )
  const lastedMs = closedLines().map(
    ({ sessionId, time }) => Date.parse(String(time)) - (openedAt.get(sessionId) ?? 0),
  )
  return { count: lastedMs.length, longestMs: Math.max(...lastedMs) }
}
