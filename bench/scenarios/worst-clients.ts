import { DEFAULT_SYNC_LIMITS } from '../../src/sync/options.ts'
import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Bar, Sample, Scenario } from '../harness/scenario.ts'
import { filledDatabase, newDatabase, Server } from '../harness/server.ts'
import type { LoadClients, LoadWork } from '../processes/load.ts'
import type { ReadersOptions } from '../processes/readers.ts'
import type { WorstOptions } from '../processes/worst-clients.ts'
import { firstSync } from './first-sync.ts'
import { checkDelivery } from './ingest.ts'

/** What a server has used once its worst clients have done what they do. */
interface Held {
  /** After a collection of garbage. */
  readonly rssBytes: number
  readonly peakRssBytes: number
  /** How many of them it has closed, where it may. */
  readonly closed?: number
}

interface Closed {
  readonly closed: number
}

interface WorstShape {
  readonly name: string
  readonly title: string
  readonly clients: number
  readonly bars?: readonly Bar[]
  /** The server may close them. */
  readonly mayClose?: boolean
  /** Runs a server with so many of them; with none, all else is the same. */
  run(clients: number, options: RunOptions): Promise<Held>
}

/** `maxBufferedBytes`, and 16 MB for all else. */
const UNREAD_BARS: readonly Bar[] = [{ atMost: DEFAULT_SYNC_LIMITS.maxBufferedBytes / 2 ** 20 + 16 }]

/** A hundred may take 200 MB together. */
const UNREAD_DELTA_BARS: readonly Bar[] = [{ atMost: 2 }]
/** Beyond the 30 s after which the server closes who takes nothing. */
const UNREAD_DELTA_MS = 35_000

function worst({ name, title, clients: full, bars, mayClose = false, run }: WorstShape): Scenario {
  const judged = bars === undefined ? {} : { bars }
  return {
    name,
    title,
    variants: ['kora'],
    metrics: [
      { key: 'peak-each', label: 'peak memory for each of them', unit: 'MB', ...judged },
      { key: 'each', label: 'memory for each of them, in the end', unit: 'MB', ...judged },
      { key: 'peak', label: 'peak memory in all', unit: 'MB' },
      { key: 'peak-without', label: 'peak memory without them', unit: 'MB' },
      ...(mayClose ? [{ key: 'closed', label: `of ${full}, closed by the server`, unit: '' }] : []),
    ],
    async run(_variant, options): Promise<Sample> {
      const clients = Math.min(full, sized(options, full, 2))
      const withThem = await run(clients, options)
      // The smallest runs compare nothing, and are to be over soon.
      const without =
        options.size === 'smoke' ? withThem : await run(0, { ...options, profileDirectory: null })
      const each = (of: 'rssBytes' | 'peakRssBytes'): number => (withThem[of] - without[of]) / clients / 1e6
      return {
        'peak-each': each('peakRssBytes'),
        each: each('rssBytes'),
        peak: withThem.peakRssBytes / 1e6,
        'peak-without': without.peakRssBytes / 1e6,
        ...(mayClose && { closed: withThem.closed ?? 0 }),
      }
    },
  }
}

async function ingestBesideUnread(clients: number, options: RunOptions): Promise<Held> {
  await using server = await Server.start('kora', { filename: newDatabase(options) })
  await using readers = new Child('readers')
  await using load = new Child('load')
  const count = Math.max(1, clients)
  await readers.call('connect', { url: server.url, count, watermark: 0 } satisfies ReadersOptions)
  await readers.call(clients > 0 ? 'stopReading' : 'close')
  await load.call('connect', { url: server.url, clients: 1, watermark: 0 } satisfies LoadClients)
  const work = { batchesPerClient: sized(options, 500, 2), batchSize: 100, records: 'new' } as const
  await load.call('prepare', work satisfies LoadWork)
  await server.profiled(options.label, options, () => load.call('send', { inFlight: 4 }))
  await server.checkAdded(work.batchesPerClient * work.batchSize)
  await checkDelivery(load, 0)
  return await settledUsage(server, options)
}

/** With a reader that reads, before and after: the server has to serve it all the same. */
async function serveUnreadAcknowledged(clients: number, options: RunOptions): Promise<Held> {
  const log = sized(options, 50_000, 300)
  const filename = await filledDatabase('kora', options, { operations: log })
  await using server = await Server.start('kora', { filename })
  await using worstClients = new Child('worst-clients')
  await firstSync(server, { clients: 1, expected: log })
  const { closed } = await server.profiled(options.label, options, () =>
    call<Closed>(worstClients, 'acknowledgeUnread', {
      url: server.url,
      clients,
      log,
      sweeps: sized(options, 10, 1),
    }),
  )
  await firstSync(server, { clients: 1, expected: log })
  await server.checkAdded(0)
  return { ...(await settledUsage(server, options)), closed }
}

/** With a reader that reads, before and after, as above. */
async function serveUnreadDelta(clients: number, options: RunOptions): Promise<Held> {
  const log = sized(options, 50_000, 300)
  const filename = await filledDatabase('kora', options, { operations: log })
  await using server = await Server.start('kora', { filename })
  await using worstClients = new Child('worst-clients')
  await firstSync(server, { clients: 1, expected: log })
  const stayMs = sized(options, UNREAD_DELTA_MS, 20)
  const { closed } = await server.profiled(options.label, options, () =>
    call<Closed>(worstClients, 'stayUnread', { url: server.url, clients, stayMs }),
  )
  await firstSync(server, { clients: 1, expected: log })
  await server.checkAdded(0)
  return { ...(await settledUsage(server, options)), closed }
}

async function refuseFlood(clients: number, options: RunOptions): Promise<Held> {
  await using server = await Server.start('kora', { filename: newDatabase(options) })
  await using worstClients = new Child('worst-clients')
  const batches = sized(options, 1500, 2)
  const { closed } = await server.profiled(options.label, options, () =>
    call<Closed>(worstClients, 'floodRefused', { url: server.url, clients, batches, batchSize: 100 }),
  )
  const held = await settledUsage(server, options)
  await server.checkAdded(0)
  return { ...held, closed }
}

async function storeLargest(clients: number, options: RunOptions): Promise<Held> {
  const batches = sized(options, 8, 1)
  const batchSize = sized(options, 100, 2)
  await using server = await Server.start('kora', { filename: newDatabase(options) })
  await using worstClients = new Child('worst-clients')
  const { received } = await server.profiled(options.label, options, () =>
    call<{ received: number }>(worstClients, 'writeLargest', {
      url: server.url,
      clients,
      batches,
      batchSize,
    }),
  )
  await server.checkAdded(clients * batches * batchSize)
  if (received !== clients * batches * batchSize) throw new Error(`${received} operations received`)
  return await settledUsage(server, options)
}

async function holdHalves(clients: number, options: RunOptions): Promise<Held> {
  await using server = await Server.start('kora', { filename: newDatabase(options) })
  await using worstClients = new Child('worst-clients')
  const bytes = sized(options, DEFAULT_SYNC_LIMITS.maxMessageBytes, 1e6)
  await call(worstClients, 'sendHalves', { url: server.url, clients, bytes })
  const held = await settledUsage(server, options)
  const closed = await worstClients.call<number>('closed')
  if (closed > 0)
    throw new Error(`${closed} of ${clients} clients were closed before their memory was measured`)
  await server.checkAdded(0)
  return held
}

/** What clients have sent is in part still on its way, in the buffers of the kernel: until it is used no more. */
async function settledUsage(server: Server, options: RunOptions): Promise<Held> {
  const quietMs = sized(options, 1000, 20)
  for (let before = await server.usage(); ; ) {
    await new Promise((resolve) => setTimeout(resolve, quietMs))
    const after = await server.usage()
    if (after.peakRssBytes === before.peakRssBytes) return await server.usage(true)
    before = after
  }
}

function call<Result>(
  worstClients: Child,
  behaviour: string,
  options: WorstOptions & { readonly [name: string]: unknown },
): Promise<Result> {
  return worstClients.call(behaviour, options)
}

export const worstClientScenarios: readonly Scenario[] = [
  worst({
    name: 'P19',
    title: 'clients that do not read, while 28 MB are written',
    clients: 10,
    bars: UNREAD_BARS,
    run: ingestBesideUnread,
  }),
  worst({
    name: 'M1',
    title: 'clients that acknowledge a log of 28 MB and read nothing, each from another place',
    clients: 10,
    bars: UNREAD_BARS,
    mayClose: true,
    run: serveUnreadAcknowledged,
  }),
  worst({
    name: 'M2',
    title: 'clients that flood with what is refused, and read no refusal',
    clients: 4,
    bars: UNREAD_BARS,
    mayClose: true,
    run: refuseFlood,
  }),
  worst({
    name: 'M3',
    title: 'a writer of the largest operations, 100 in a batch, and a reader beside it',
    clients: 1,
    run: storeLargest,
  }),
  worst({
    name: 'M4',
    title: 'clients that send half of a largest message',
    clients: 10,
    run: holdHalves,
  }),
  worst({
    name: 'M5',
    title: 'clients without watermark that are owed a log of 28 MB and read nothing',
    clients: 100,
    bars: UNREAD_DELTA_BARS,
    mayClose: true,
    run: serveUnreadDelta,
  }),
]
