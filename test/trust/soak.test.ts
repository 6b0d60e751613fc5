import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, SocketClient } from '../support/socket-client.ts'
import { schemaFile } from '../support/todo-app.ts'
import { type Measure, trendOf } from '../support/trend.ts'
import { percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

/** `npm run test:soak` says for how long. */
const SECONDS = Number(process.env.KORA_SOAK_MINUTES ?? 0) * 60 || sized(5, 300)
/** Asking for metrics is work, too, and their code is loaded for it: with `KORA_SOAK_METRICS=never` nobody does. */
const IS_SCRAPED = process.env.KORA_SOAK_METRICS !== 'never'
const MAX_RSS_BYTES = 256 * 1024 * 1024
const MAX_SLOPE_MB_PER_HOUR = 1
/** What a process takes in its first hour says nothing of the next ones; of those, one makes a slope. */
const SLOPE = { beginningSeconds: 3600, leastSpanSeconds: 3000 }
/** In 99 of 100 seconds; at the gate's size the server shares its cores with other tests. */
const MAX_LAG_MS = SECONDS > 60 ? 50 : 1000
/** An app has as many devices as it has, and they return. Odd, so that all have their turn at the odd visits. */
const RETURNING_DEVICES = SECONDS > 60 ? 49 : 9
/** Every other visit is by a device that nobody has seen before, and will not again. */
const NEW_EVERY = 2
const OPERATIONS_PER_VISIT = 10
/** Of the newest operations, what a device is sent that comes for the first time: none reads the log of hours. */
const FIRST_READ_OPERATIONS = 200

interface Visitor {
  readonly author: OperationAuthor
  /** How far it has read. */
  watermark: number
}

test(
  'clients that come, write, read and go leave nothing behind',
  async () => {
    const admin = { adminToken: 'admin' }
    await using daemon = await startDaemon({
      files: {
        'schema.mjs': schemaFile(),
        'kora.config.json': JSON.stringify({ schema: './schema.mjs', admin }),
      },
    })
    const visitors = new Visitors()
    const visit = (number: number): Promise<void> => visitOf(visitors.ofVisit(number), daemon, number)
    await visit(0)
    await sleep(500)
    const descriptorsBefore = descriptors(daemon)
    const measures: Measure[] = []
    const startedAt = performance.now()
    const elapsed = (): number => (performance.now() - startedAt) / 1000
    let visits = 0
    const lagsMs: number[] = []
    const churning = (async () => {
      while (elapsed() < SECONDS) {
        await Promise.all([visit(++visits), visit(++visits)])
        await sleep(50)
      }
    })()
    while (elapsed() < SECONDS) {
      await sleep(1000)
      measures.push({ second: elapsed(), value: rssBytes(daemon) })
      if (IS_SCRAPED) lagsMs.push(await eventLoopLagMs(daemon, admin.adminToken))
    }
    await churning
    await expect
      .poll(() => descriptors(daemon), { timeout: 20_000 })
      .toBeLessThanOrEqual(descriptorsBefore + 5)

    const slope = trendOf(measures, SLOPE)
    const slopeMb = slope.perHour / 1e6
    const last = measures.at(-1)?.value ?? 0
    const lagMs = percentile(lagsMs, 0.99)
    reportFigures('soak', {
      minutes: Math.round(SECONDS / 6) / 10,
      visits,
      devices: visitors.count,
      'RSS at the end, MB': Math.round(last / 1e6),
      'RSS slope, MB/h': Math.round(slopeMb * 10) / 10,
      'slope taken of, s': Math.round(slope.spanSeconds),
      'least and most RSS of each tenth, MB': rangesOf(measures, 10),
      ...(IS_SCRAPED && {
        'event loop lag p99, ms, in 99 of 100 seconds': Math.round(lagMs),
        'event loop lag p99 at most, ms': Math.round(Math.max(...lagsMs)),
      }),
    })
    expect(last).toBeLessThan(MAX_RSS_BYTES)
    if (slope.isSettled) expect(slopeMb).toBeLessThan(MAX_SLOPE_MB_PER_HOUR)
    if (IS_SCRAPED) expect(lagMs).toBeLessThan(MAX_LAG_MS)
    expect(daemon.log.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([])
  },
  Math.max(timeoutMs(60_000), (SECONDS + 300) * 1000),
)

/** Who comes: the same devices, again and again, and in between new ones. */
class Visitors {
  readonly #returning = new Map<number, Visitor>()
  count = 0

  ofVisit(number: number): Visitor {
    if (number % NEW_EVERY === 0) return this.#create(`visitor-${number}`, number)
    const index = number % RETURNING_DEVICES
    const known = this.#returning.get(index) ?? this.#create(`device-${index}`, number)
    this.#returning.set(index, known)
    return known
  }

  #create(nodeId: string, number: number): Visitor {
    this.count++
    const watermark = Math.max(0, number * OPERATIONS_PER_VISIT - FIRST_READ_OPERATIONS)
    return { author: new OperationAuthor(nodeId), watermark }
  }
}

/** Memory goes up and down between collections: what the slope of an hour is worth shows in how far. */
function rangesOf(measures: readonly Measure[], parts: number): string {
  const length = Math.ceil(measures.length / parts)
  const ranges = Array.from({ length: Math.ceil(measures.length / length) }, (_, part) => {
    const values = measures.slice(part * length, (part + 1) * length).map(({ value }) => value / 1e6)
    return `${Math.round(Math.min(...values))}-${Math.round(Math.max(...values))}`
  })
  return ranges.join(' ')
}

/** A device reads what it lacks, writes ten operations, and is gone. */
async function visitOf(visitor: Visitor, daemon: Daemon, number: number): Promise<void> {
  const { author } = visitor
  using client = await new SocketClient(daemon.url).opened()
  client.send(handshakeOf(author.nodeId, {}, { lastDeliverySequence: visitor.watermark }))
  await client.until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
  const operations = Array.from({ length: OPERATIONS_PER_VISIT }, (_, i) =>
    author.insert(recordIdOf(`${number % 500} ${i}`), { title: `by ${author.nodeId}` }),
  )
  client.send({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
  await client.until(() => client.ofType('acknowledgment').length === 1)
  expect(client.isEnded).toBe(false)
  for (const { maxDeliverySequence = 0 } of client.ofType('operation-batch')) {
    visitor.watermark = Math.max(visitor.watermark, maxDeliverySequence)
  }
}

function rssBytes(daemon: Daemon): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) * 1024
}

function descriptors(daemon: Daemon): number {
  return readdirSync(`/proc/${daemon.pid}/fd`).length
}

async function eventLoopLagMs(daemon: Daemon, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` }
  const metrics = await (await fetch(`${daemon.httpUrl}/__kora/metrics`, { headers })).text()
  return 1000 * Number(/^\w*nodejs_eventloop_lag_p99_seconds ([\d.e-]+)$/m.exec(metrics)?.[1] ?? Number.NaN)
}
