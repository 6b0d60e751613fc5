import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import { filledPostgresDatabase, newPostgresDatabase } from '../harness/postgres.ts'
import type { Sample, Scenario } from '../harness/scenario.ts'
import { Server } from '../harness/server.ts'
import { quantile } from '../harness/statistics.ts'
import type { LoadClients, LoadResult, LoadWork } from '../processes/load.ts'
import type { ReadersOptions, WatchOptions, WatchResult } from '../processes/readers.ts'
import { firstSync } from './first-sync.ts'
import { checkDelivery } from './ingest.ts'

const BATCH = 100
const WRITERS = 4
const READERS = 2

async function connectWriters(server: Server, clients: number): Promise<Child> {
  const load = new Child('load')
  await load.call('connect', { url: server.url, clients, watermark: 0 } satisfies LoadClients)
  return load
}

async function send(load: Child, batchesPerClient: number, batchSize = BATCH): Promise<LoadResult> {
  await load.call('prepare', { batchesPerClient, batchSize, records: 'new' } satisfies LoadWork)
  return load.call<LoadResult>('send', { inFlight: 4 })
}

async function ingest(variant: string, options: RunOptions): Promise<Sample> {
  const connectionString = await newPostgresDatabase()
  await using server = await Server.startOnPostgres(variant, options, { connectionString })
  await using load = await connectWriters(server, WRITERS)
  const warmUp = sized(options, 10, 1)
  const batches = sized(options, 60, 1)
  await send(load, warmUp)
  const before = await server.usage()
  const { elapsedMs } = await server.profiled(`P16-${variant}`, options, () => send(load, batches))
  const after = await server.usage()
  await server.checkAdded(WRITERS * (warmUp + batches) * BATCH)
  await checkDelivery(load, (WRITERS - 1) * (warmUp + batches) * BATCH)
  const operations = batches * WRITERS * BATCH
  return {
    rate: (operations / elapsedMs) * 1000,
    cpu: ((after.cpuMs - before.cpuMs) / operations) * 10,
    peak: after.peakRssBytes / 1e6,
  }
}

/** From the start of the process until it listens; then a first sync by eight clients. */
async function startAndSync(variant: string, options: RunOptions): Promise<Sample> {
  const operations = variant === 'empty' ? 0 : sized(options, 100_000, 250)
  const connectionString = await filledPostgresDatabase(operations)
  await using server = await Server.startOnPostgres('kora', options, { connectionString })
  const { startMs: start } = server
  await server.checkAdded(0)
  if (variant === 'empty') return { start }
  const before = await server.usage()
  const sync = await server.profiled('P17', options, () =>
    firstSync(server, { clients: 8, expected: operations }),
  )
  const after = await server.usage()
  return { start, sync, cpu: after.cpuMs - before.cpuMs, peak: after.peakRssBytes / 1e6 }
}

/** What is written on one server, seen on the other. */
async function acrossServers(_variant: string, options: RunOptions): Promise<Sample> {
  const connectionString = await newPostgresDatabase()
  await using one = await Server.startOnPostgres('kora', options, { connectionString })
  await using other = await Server.startOnPostgres('kora', options, { connectionString })
  await using readers = new Child('readers')
  await using load = await connectWriters(one, 1)
  await readers.call('connect', { url: other.url, count: READERS, watermark: 0 } satisfies ReadersOptions)
  let watermark = 0
  const watched = async (
    batches: number,
    batchSize: number,
    write: () => Promise<LoadResult>,
  ): Promise<{ latenciesMs: number[]; elapsedMs: number }> => {
    await load.call('prepare', { batchesPerClient: batches, batchSize, records: 'new' } satisfies LoadWork)
    const watching = readers.call<WatchResult>('watch', {
      watermark,
      batches,
      batchSize,
    } satisfies WatchOptions)
    const { sentAt, elapsedMs } = await write()
    const { arrivedAt, breaks, duplicates, received } = await watching
    if (breaks + duplicates > 0) throw new Error(`${breaks} breaks and ${duplicates} duplicates in delivery`)
    watermark += batches * batchSize
    if (received !== READERS * watermark) throw new Error(`${received} of ${READERS * watermark} deliveries`)
    await one.checkAdded(batches * batchSize)
    return {
      latenciesMs: Array.from(arrivedAt, (time, index) => time - (sentAt[index % batches] ?? 0)),
      elapsedMs,
    }
  }
  const batches = sized(options, 150, 3)
  const paced = (perSecond: number) => () => load.call<LoadResult>('sendPaced', { perSecond })
  const most = await one.profiled('P18', options, () =>
    watched(batches, BATCH, () => load.call<LoadResult>('send', { inFlight: 4 })),
  )
  const idle = await watched(batches, 1, paced(20))
  const batchesPerSecond = (batches / most.elapsedMs) * 1000
  const half = await watched(batches, BATCH, paced(batchesPerSecond / 2))
  return {
    rate: batchesPerSecond * BATCH,
    idle: quantile(idle.latenciesMs, 0.99),
    'idle-p50': quantile(idle.latenciesMs, 0.5),
    half: quantile(half.latenciesMs, 0.99),
    'half-p50': quantile(half.latenciesMs, 0.5),
    peak: (await one.usage()).peakRssBytes / 1e6,
    'peak-other': (await other.usage()).peakRssBytes / 1e6,
  }
}

const ACROSS = 'written on one, seen on the other'

export const postgresScenarios: readonly Scenario[] = [
  {
    name: 'P16',
    title: 'PostgreSQL: ingest, 4 clients that all see all',
    variants: ['kora', 'limit'],
    metrics: [
      { key: 'rate', label: 'operations/s', unit: '/s', bars: [{ against: 'limit', atLeast: 0.4 }] },
      { key: 'cpu', label: 'server CPU per 10,000', unit: 's' },
      { key: 'peak', label: 'peak memory', unit: 'MB' },
    ],
    run: ingest,
  },
  {
    name: 'P17',
    title: 'PostgreSQL: start on 100,000 operations, first sync by 8 clients',
    variants: ['100,000', 'empty'],
    metrics: [
      { key: 'start', label: 'until it listens', unit: 'ms', bars: [{ against: 'empty', atMost: 1.3 }] },
      { key: 'sync', label: 'first sync of 8 clients', unit: 'ms' },
      { key: 'cpu', label: 'first sync, server CPU', unit: 'ms' },
      { key: 'peak', label: 'peak memory', unit: 'MB', bars: [{ atMost: 222 }] },
    ],
    run: startAndSync,
  },
  {
    name: 'P18',
    title: 'two servers on one PostgreSQL',
    variants: ['kora'],
    metrics: [
      { key: 'rate', label: 'at most, operations/s', unit: '/s' },
      { key: 'idle-p50', label: `${ACROSS}, idle, p50`, unit: 'ms' },
      { key: 'idle', label: `${ACROSS}, idle, p99`, unit: 'ms', bars: [{ atMost: 50 }] },
      { key: 'half-p50', label: `${ACROSS}, at half load, p50`, unit: 'ms' },
      { key: 'half', label: `${ACROSS}, at half load, p99`, unit: 'ms', bars: [{ atMost: 250 }] },
      { key: 'peak', label: 'peak memory, of the one written to', unit: 'MB' },
      { key: 'peak-other', label: 'peak memory, of the other', unit: 'MB' },
    ],
    run: acrossServers,
  },
]
