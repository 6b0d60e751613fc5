import { copyFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import { type LogFields, type Logger, silentLogger } from '../../src/core/logger.ts'
import type { Runtime } from '../../src/core/runtime.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { Bystander } from '../support/bystander.ts'
import { sleep } from '../support/cluster.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { forgetPeak, mebibytes, memoryOf } from '../support/process-memory.ts'
import { type SimulatedRuntime, simulatedRuntime } from '../support/simulated-runtime.ts'
import { fastRuntime, handshakeOf, SocketClient, startSocketServer } from '../support/socket-client.ts'
import { IS_FULL, percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const OPERATIONS = 20_000
const TEXT = 'x'.repeat(300)
const MEGABYTE = 1024 * 1024
const MAX_BUFFERED_BYTES = 4 * MEGABYTE // limits.maxBufferedBytes
const SLOW_CONSUMER = 4010
const READERS = IS_FULL ? [1, 100] : [1]
const IDLE_MS = sized(2000, 20_000)
const BUSY_MACHINE_MS = sized(2000, 0) // beside other tests a timer of a second is late
const NEVER_ACKNOWLEDGING_MS = 300_000
const SPEED = 20 // of simulated time
const CLOSED_MS = 30_000
/** Half a second of this machine would be all for a handshake in simulated time. */
const LIMITS = { handshakeTimeoutMs: 600_000 }
/** Of the simulated clock, at each turn of the event loop: it stands still where this machine is too busy to work. */
const TICK_MS = 100

/** At the gate the half minute is waited once; at full size nothing may disturb what is measured. */
const testBeside = IS_FULL ? test : test.concurrent

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

function keepGoing(runtime: SimulatedRuntime): Disposable {
  let isOver = false
  const go = async (): Promise<void> => {
    while (!isOver) {
      await runtime.advance(TICK_MS)
      await sleep(5)
    }
  }
  void go()
  return {
    [Symbol.dispose]: () => {
      isOver = true
    },
  }
}

/** A log that notes when sessions open and close, and with which code, by the clock of the server. */
function closesOf(runtime: Runtime): { readonly logger: Logger; readonly closes: Close[] } {
  const closes: Close[] = []
  const openedAt = new Map<unknown, number>()
  const note = ({ sessionId, code }: LogFields, message: string): void => {
    const now = runtime.monotonicNow()
    if (message === LOG_EVENTS.sessionOpened.message) openedAt.set(sessionId, now)
    if (message === LOG_EVENTS.sessionClosed.message)
      closes.push({ code: Number(code), lastedMs: now - (openedAt.get(sessionId) ?? Number.NaN) })
  }
  const bound = (bindings: LogFields): Logger => ({
    ...silentLogger,
    debug: (fields, message) => note({ ...bindings, ...fields }, message),
    child: (more) => bound({ ...bindings, ...more }),
  })
  return { logger: bound({}), closes }
}

testBeside(
  'readers that do not read hold a bounded buffer, are closed in time, and harm nobody',
  async () => {
    const runtime = simulatedRuntime(Date.now())
    using _clock = keepGoing(runtime)
    const { logger, closes } = closesOf(runtime)
    await using store = openStore()
    await using server = await startSocketServer({ store, runtime, logger, limits: LIMITS })
    const slow = await Promise.all(Array.from({ length: 20 }, () => server.open()))
    const startedAt = performance.now()
    for (const [i, client] of slow.entries()) {
      client.send(handshakeOf(`slow${i}`))
      client.socket.pause()
    }
    using writer = await server.connect('author', {}, { lastDeliverySequence: OPERATIONS })
    let mostBuffered = 0
    let mostWaited = 0
    while (server.server.getConnectionCount() > 1 && performance.now() - startedAt < 50_000) {
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
    const longestMs = Math.max(...closes.map(({ lastedMs }) => lastedMs))

    expect(server.server.getConnectionCount()).toBe(1)
    expect(closes.map(({ code }) => code)).toEqual(slow.map(() => SLOW_CONSUMER))
    expect(longestMs).toBeLessThanOrEqual(CLOSED_MS)
    expect(mostBuffered).toBeLessThan(MAX_BUFFERED_BYTES)
    reportFigures('slow readers, simulated time', {
      readers: slow.length,
      'KiB buffered at most': Math.round(mostBuffered / 1024),
      'closed after at most, s': Math.round(longestMs / 1000),
      'a write waited at most, ms': Math.round(mostWaited),
    })
    for (const client of slow) {
      client.socket.resume()
      const { code } = await client.ended
      expect([SLOW_CONSUMER, 1006]).toContain(code) // the reason may not get through to who does not read
    }
  },
  60_000,
)

testBeside(
  'a reader that never acknowledges is sent at most twice the log, and closed',
  async () => {
    await using store = openStore()
    await using server = await startSocketServer({ store, runtime: fastRuntime(SPEED), limits: LIMITS })
    using client = await server.open()
    client.acknowledges = false

    client.send(handshakeOf('mute'))
    const end = await Promise.race([client.ended, sleep(NEVER_ACKNOWLEDGING_MS / SPEED)])

    const sentBytes = client.texts.reduce((sum, text) => sum + text.length, 0)
    reportFigures('never acknowledging', { 'bytes sent': sentBytes, 'bytes of the log': logBytes })
    expect(sentBytes).toBeLessThan(2 * logBytes)
    expect(end).toMatchObject({ code: SLOW_CONSUMER })
  },
  60_000,
)

// What the simulated time above stands for: at the gate of one reader, beside the tests above.
testBeside(
  'slow readers of a daemon cost what they may, are closed in time, and harm nobody',
  async () => {
    const config = JSON.stringify({ limits: { maxOpsPerMinute: 0 } })
    copyFileSync(`${directory.path}/a.db`, `${directory.path}/b.db`) // the others have a server on it
    await using daemon = await startDaemon({
      args: ['--db', `${directory.path}/b.db`, '--log-level', 'debug'],
      files: { 'kora.config.json': config },
    })
    await using bystander = await Bystander.start({ url: daemon.url, token: '', maxWaitMs: 20_000 })
    const before = await bystander.during(() => sleep(IDLE_MS))
    const idleMs = percentile(before.waitsMs, 0.99)

    for (const readers of READERS) {
      const maxGrowthBytes = readers === 1 ? MAX_BUFFERED_BYTES + 16 * MEGABYTE : 200 * MEGABYTE
      const rssBytes = memoryOf(daemon.pid).rssBytes
      forgetPeak(daemon.pid)
      let closed: readonly Close[] = []
      const { waitsMs, closes } = await bystander.during(async () => {
        closed = await untilClosed(daemon, readers)
      })

      const grownBytes = memoryOf(daemon.pid).peakBytes - rssBytes
      const waitMs = percentile(waitsMs, 0.99)
      const longestMs = Math.max(...closed.map(({ lastedMs }) => lastedMs))
      reportFigures('slow readers', {
        readers,
        'RSS grown at most, MiB': mebibytes(grownBytes),
        'closed after at most, s': Math.round(longestMs / 100) / 10,
        'another waited, p99, ms': waitMs,
        'without them, p99, ms': idleMs,
      })
      expect(closed.map(({ code }) => code)).toEqual(Array.from({ length: readers }, () => SLOW_CONSUMER))
      expect(longestMs).toBeLessThanOrEqual(CLOSED_MS + BUSY_MACHINE_MS)
      expect(grownBytes).toBeLessThanOrEqual(maxGrowthBytes)
      expect(closes).toBe(0)
      if (IS_FULL) expect(waitMs).toBeLessThan(2 * idleMs) // at the gate others want the machine
    }
  },
  timeoutMs(120_000),
)

interface Close {
  readonly code: number
  /** From its session's opening to its end. */
  readonly lastedMs: number
}

/** Opens readers that ask for everything and read nothing, and waits until the daemon has closed them. */
async function untilClosed(daemon: Daemon, readers: number): Promise<readonly Close[]> {
  const since = daemon.log.length
  const clients = await Promise.all(
    Array.from({ length: readers }, () => new SocketClient(daemon.url).opened()),
  )
  for (const [i, client] of clients.entries()) {
    client.send(handshakeOf(`slow${i}`))
    client.socket.pause()
  }
  const closedLines = () => daemon.log.slice(since).filter(({ msg }) => msg === 'session closed')
  await vi.waitUntil(() => closedLines().length === readers, { timeout: 60_000, interval: 500 })
  for (const client of clients) client[Symbol.dispose]()

  const openedAt = new Map(
    daemon.log
      .filter(({ msg }) => msg === 'session opened')
      .map(({ sessionId, time }) => [sessionId, Date.parse(String(time))]),
  )
  return closedLines().map(({ sessionId, time, code }) => ({
    code: Number(code),
    lastedMs: Date.parse(String(time)) - (openedAt.get(sessionId) ?? Number.NaN),
  }))
}
