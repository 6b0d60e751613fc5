import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import { createSqliteServerStore } from '../../src/index.ts'
import { sleep } from '../support/cluster.ts'
import { type Daemon, type DaemonOptions, startDaemon } from '../support/daemon.ts'
import { OperationAuthor } from '../support/operation-author.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const CLIENTS = 1000
/** Where it is not counted how many of them are closed in a second. */
const FEWER_CLIENTS = sized(200, 1000)
const WRITE_INTERVAL_MS = 1000
const SHUTDOWN_TIMEOUT_MS = 10_000
/** No more than this share of the clients is sent away in any second. */
const LARGEST_SHARE = 0.25
/** From one close to the next, on average: half of what it is where nothing stands in the way. */
const LEAST_PAUSE_MS = 3
const SECOND_SIGNAL_MS = sized(3000, 200) // more where other tests run beside
const GOING_AWAY = 1001
/** The log then says when each connection was closed. */
const LOGGING_CLOSES = ['--log-level', 'debug']
const IS_LINUX = process.platform === 'linux' // where a process can be watched without waiting for events

test(
  'a server that is told to stop answers what it took, sends its clients away one after the other, and ends',
  async () => {
    await using daemon = await startDaemon({ args: LOGGING_CLOSES })
    const clients = await openWriters(daemon, CLIENTS)
    await untilWritten(clients)

    const drain = await stopGracefully(daemon, clients, daemon.pid)

    reportFigures('graceful drain', figuresOf(drain))
    expectGraceful(drain)
  },
  timeoutMs(120_000),
)

test.runIf(IS_LINUX)(
  'a second signal ends a server that drains at once',
  async () => {
    await using daemon = await startDaemon()
    const clients = await openWriters(daemon, FEWER_CLIENTS)
    await sleep(500)

    const ended = daemon.kill('SIGTERM')
    await Promise.race(clients.map((client) => client.ended)) // it drains
    const tookMs = msToEnd(daemon.pid)
    const exit = await ended

    expect(exit).toEqual({ code: null, signal: 'SIGTERM' }) // which shells report as 143
    expect(tookMs).toBeLessThan(SECOND_SIGNAL_MS)
    reportFigures('second signal', { 'ms to the end': Math.round(tookMs) })
    for (const client of clients) client.end()
  },
  60_000,
)

test.runIf(IS_LINUX)(
  'a second signal ends a server whose event loop turns no more',
  async () => {
    const blockedMs = 20_000
    await using daemon = await startDaemon({
      files: {
        'kora.config.mjs': `
        process.once('SIGTERM', () => setTimeout(() => {
          process.stderr.write('blocked')
          for (const until = Date.now() + ${blockedMs}; Date.now() < until; );
        }, 100))
        export default {}`,
      },
    })
    const clients = await openWriters(daemon, 200) // enough to drain for longer than that

    const ended = daemon.kill('SIGTERM')
    await expect.poll(() => daemon.output, { timeout: 5000 }).toContain('blocked')
    const tookMs = msToEnd(daemon.pid)
    const exit = await ended

    expect(exit).toEqual({ code: null, signal: 'SIGTERM' })
    expect(tookMs).toBeLessThan(SECOND_SIGNAL_MS)
    reportFigures('second signal, event loop blocked', { 'ms to the end': Math.round(tookMs) })
    for (const client of clients) client.end()
  },
  60_000,
)

describe.runIf(IS_LINUX && process.getuid?.() === 0)(
  'the first process of a container, which no signal ends by default',
  () => {
    const inContainer: DaemonOptions = {
      launcher: ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'],
    }

    test(
      'drains and ends as any other',
      async () => {
        await using daemon = await startDaemon({ ...inContainer, args: LOGGING_CLOSES })
        const clients = await openWriters(daemon, CLIENTS)
        await untilWritten(clients)

        const drain = await stopGracefully(daemon, clients, childOf(daemon.pid))

        reportFigures('graceful drain, in a container', figuresOf(drain))
        expectGraceful(drain)
      },
      timeoutMs(120_000),
    )

    test('ends at once on a second signal', async () => {
      await using daemon = await startDaemon(inContainer)
      const clients = await openWriters(daemon, 200)
      const pid = childOf(daemon.pid)

      process.kill(pid, 'SIGTERM')
      await Promise.race(clients.map((client) => client.ended))
      const tookMs = msToEnd(pid)
      const { code } = await daemon.exited

      expect(code).toBe(143)
      expect(tookMs).toBeLessThan(SECOND_SIGNAL_MS)
      reportFigures('second signal, in a container', { 'ms to the end': Math.round(tookMs) })
      for (const client of clients) client.end()
    }, 60_000)
  },
)

/** How a server ended that was told to. */
interface Drain {
  readonly clients: number
  readonly exitCode: number | null
  readonly tookMs: number
  /** When the server closed each connection, ms of its clock. */
  readonly closedAt: readonly number[]
  /** When each client heard of it, ms of ours. */
  readonly heardAt: readonly number[]
  readonly closeCodes: ReadonlySet<number>
  readonly acknowledged: number
  readonly lostIds: readonly string[]
}

/** @param pid of the server, which a launcher may have forked */
async function stopGracefully(daemon: Daemon, clients: readonly Writer[], pid: number): Promise<Drain> {
  const toldAt = performance.now()
  process.kill(pid, 'SIGTERM')
  const { code: exitCode } = await daemon.exited
  const tookMs = performance.now() - toldAt
  const ends = await Promise.all(clients.map(({ ended }) => ended))
  const acknowledgedIds = clients.flatMap((client) => client.acknowledgedIds)
  const closes = daemon.log.filter(({ msg }) => msg === LOG_EVENTS.sessionClosed.message)
  return {
    clients: clients.length,
    exitCode,
    tookMs,
    closedAt: closes.map(({ time }) => Date.parse(String(time))),
    heardAt: ends.map(({ at }) => at),
    closeCodes: new Set(ends.map(({ code }) => code)),
    acknowledged: acknowledgedIds.length,
    lostIds: await findLost(daemon, acknowledgedIds),
  }
}

/**
 * It has ended in its time, and none of its clients has lost what was acknowledged, nor was any closed without the
 * word that the server is going away, nor too many of them at once.
 */
function expectGraceful(drain: Drain): void {
  const { clients, closedAt, heardAt } = drain
  expect(drain.exitCode).toBe(0)
  expect(drain.tookMs).toBeLessThan(SHUTDOWN_TIMEOUT_MS)
  expect(drain.closeCodes).toEqual(new Set([GOING_AWAY]))
  expect(closedAt).toHaveLength(clients)
  const largest = clients * LARGEST_SHARE
  expect(mostWithin(1000, closedAt)).toBeLessThanOrEqual(largest)
  // Beside other tests the clients hear of their closes later than they were made, some together.
  if (IS_FULL) expect(mostWithin(1000, heardAt)).toBeLessThanOrEqual(largest)
  expect(spanOf(heardAt)).toBeGreaterThan(clients * LEAST_PAUSE_MS)
  expect(drain.acknowledged).toBeGreaterThan(clients)
  expect(drain.lostIds).toEqual([])
}

function figuresOf({ clients, acknowledged, tookMs, closedAt, heardAt }: Drain) {
  const shareOf = (instants: readonly number[]) => Math.round((100 * mostWithin(1000, instants)) / clients)
  return {
    clients,
    'operations acknowledged, none lost': acknowledged,
    'ms from the signal to the end': Math.round(tookMs),
    '% of the clients closed within one second at most': shareOf(closedAt),
    '% of them that hear of it within one second at most': shareOf(heardAt),
  }
}

/** A client that writes one operation after the other until it is sent away. */
class Writer {
  readonly acknowledgedIds: string[] = []
  readonly opened: Promise<void>
  readonly ended: Promise<{ readonly code: number; readonly at: number }>
  readonly #socket: WebSocket
  readonly #author: OperationAuthor
  #inFlightId = ''

  constructor(url: string, nodeId: string) {
    this.#author = new OperationAuthor(nodeId)
    this.#socket = new WebSocket(url)
    this.#socket.on('error', () => {}) // 'close' follows
    this.#socket.on('open', () => this.#sendHandshake())
    this.opened = new Promise((resolve) => {
      this.#socket.on('message', (data) => {
        const { type } = JSON.parse(String(data)) as { type: string }
        if (type === 'operation-batch') resolve()
        else if (type === 'acknowledgment') this.#onAcknowledged()
      })
    })
    this.ended = new Promise((resolve) => {
      this.#socket.on('close', (code) => resolve({ code, at: performance.now() }))
    })
  }

  write(): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return
    const operation = this.#author.insert(crypto.randomUUID(), { title: this.#author.nodeId })
    this.#inFlightId = operation.id
    this.#send({
      type: 'operation-batch',
      messageId: operation.id,
      operations: [operation],
      isFinal: true,
      batchIndex: 0,
    })
  }

  end(): void {
    this.#socket.terminate()
  }

  #onAcknowledged(): void {
    this.acknowledgedIds.push(this.#inFlightId)
    setTimeout(() => this.write(), WRITE_INTERVAL_MS * (0.5 + Math.random()))
  }

  #sendHandshake(): void {
    const { nodeId } = this.#author
    this.#send({
      type: 'handshake',
      messageId: 'h',
      nodeId,
      versionVector: {},
      schemaVersion: 1,
      lastDeliverySequence: 0,
      // Each sees its own only: what is measured is not the delivery of everything to everybody.
      syncQueries: [{ collection: 'todos', where: { title: nodeId } }],
    })
  }

  #send(message: object): void {
    this.#socket.send(JSON.stringify(message))
  }
}

/** Clients that are connected, and begin to write at once. */
async function openWriters({ url }: Daemon, count: number): Promise<Writer[]> {
  const writers: Writer[] = []
  while (writers.length < count) {
    const opening = Array.from(
      { length: Math.min(50, count - writers.length) },
      (_, i) => new Writer(url, `node-${writers.length + i}`),
    )
    await Promise.all(opening.map(({ opened }) => opened))
    writers.push(...opening)
  }
  for (const writer of writers) writer.write()
  return writers
}

/** Until the load runs: each has written once on average, and goes on. */
async function untilWritten(writers: readonly Writer[]): Promise<void> {
  const acknowledged = () => writers.reduce((sum, { acknowledgedIds }) => sum + acknowledgedIds.length, 0)
  await expect.poll(acknowledged, { timeout: 30_000 }).toBeGreaterThan(writers.length)
}

/** The process that a launcher has forked. */
function childOf(pid: number): number {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  return Number(child)
}

/** From a SIGTERM to the end of the process. Waits without an event loop: that of this process has clients to hear of. */
function msToEnd(pid: number): number {
  const toldAt = performance.now()
  process.kill(pid, 'SIGTERM')
  while (isAlive(pid)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
  return performance.now() - toldAt
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

async function findLost(daemon: Daemon, acknowledgedIds: readonly string[]): Promise<string[]> {
  const store = createSqliteServerStore({ filename: `${daemon.directory}/kora-server.db`, readOnly: true })
  const stored = new Set<string>()
  for (let after = 0; ; ) {
    const page = await store.getOperationsAfterDelivery(after, 1000)
    for (const { operation } of page) stored.add(operation.id)
    after = page.at(-1)?.deliverySequence ?? after
    if (page.length === 0) break
  }
  await store.close()
  return acknowledgedIds.filter((id) => !stored.has(id))
}

/** ms from the first to the last */
function spanOf(instants: readonly number[]): number {
  return Math.max(...instants) - Math.min(...instants)
}

/** How many instants fall into one window at most. */
function mostWithin(windowMs: number, instants: readonly number[]): number {
  const sorted = instants.toSorted((a, b) => a - b)
  return Math.max(...sorted.map((start, i) => sorted.slice(i).filter((at) => at < start + windowMs).length))
}
