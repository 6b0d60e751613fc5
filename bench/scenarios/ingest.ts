import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Bar, Sample, Scenario } from '../harness/scenario.ts'
import { INGEST_VARIANTS, newDatabase, OURS_NORMAL, Server, VARIANTS_AND_BOUND } from '../harness/server.ts'
import { quantile } from '../harness/statistics.ts'
import type { LoadClients, LoadResult, LoadWork, Received } from '../processes/load.ts'
import type { ReadersOptions } from '../processes/readers.ts'

const BATCH = 100

/** No bar, but how near we are to what can be had with our promises. */
const AGAINST_PROMISES: Bar = { against: 'limit-promises' }
/** And what the limit would be, did it write as ours does. */
const AGAINST_BULK: Bar = { against: 'limit-bulk' }
/** And what it is to ours to wait for the disk. */
const AGAINST_NORMAL: Bar = { against: OURS_NORMAL }

interface IngestShape {
  readonly name: string
  readonly title: string
  readonly clients: number
  /** Each client sees only its own records; otherwise all see all. */
  readonly isScoped: boolean
  /** Batches of each client on their way. */
  readonly inFlight: number
  readonly bars: readonly Bar[]
  readonly comparesDurability?: boolean
}

function ingestScenario(shape: IngestShape): Scenario {
  const { name, title, clients, isScoped, inFlight, bars, comparesDurability = false } = shape
  const comparisons = [AGAINST_PROMISES, AGAINST_BULK, ...(comparesDurability ? [AGAINST_NORMAL] : [])]
  return {
    name,
    title,
    variants: [...INGEST_VARIANTS, ...(comparesDurability ? [OURS_NORMAL] : [])],
    metrics: [
      { key: 'rate', label: 'operations/s', unit: '/s', bars: [...bars, ...comparisons] },
      {
        key: 'cpu',
        label: 'server CPU per 10,000 (P4)',
        unit: 's',
        bars: [{ against: 'limit', atMost: 2 }, AGAINST_PROMISES],
      },
      { key: 'peak', label: 'peak memory', unit: 'MB' },
    ],
    async run(variant, options) {
      const access = isScoped ? 'scoped' : 'open'
      await using server = await Server.start(variant, { filename: newDatabase(options), access })
      await using load = new Child('load')
      await load.call('connect', {
        url: server.url,
        clients,
        watermark: 0,
        scoped: isScoped,
        isChecking: options.size === 'smoke',
      } satisfies LoadClients)
      const warmUp = Math.max(1, Math.round(sized(options, 40, 1) / clients))
      const batches = Math.max(1, Math.round(sized(options, 300, 4) / clients))
      await sendBatches(load, warmUp, inFlight)
      const before = await server.usage()
      const { elapsedMs } = await server.profiled(`${name}-${variant}`, options, () =>
        sendBatches(load, batches, inFlight),
      )
      const after = await server.usage()
      const ofEach = (warmUp + batches) * BATCH
      await server.checkAdded(clients * ofEach)
      await checkDelivery(load, isScoped ? 0 : (clients - 1) * ofEach)
      if (isScoped) await checkScopes(server, { users: clients, ofEach })
      const operations = batches * clients * BATCH
      return {
        rate: (operations / elapsedMs) * 1000,
        cpu: ((after.cpuMs - before.cpuMs) / operations) * 10,
        peak: after.peakRssBytes / 1e6,
      }
    },
  }
}

async function sendBatches(load: Child, batchesPerClient: number, inFlight: number): Promise<LoadResult> {
  await load.call('prepare', { batchesPerClient, batchSize: BATCH, records: 'new' } satisfies LoadWork)
  return load.call<LoadResult>('send', { inFlight })
}

/** Everybody must have so many operations of the others and no more, once, in an unbroken chain. */
export async function checkDelivery(load: Child, operations: number): Promise<void> {
  const { fewest, most, breaks, duplicates } = await load.call<Received>('received', { operations })
  if (breaks + duplicates > 0) throw new Error(`${breaks} breaks and ${duplicates} duplicates in delivery`)
  if (fewest !== operations || most !== operations) {
    throw new Error(`Clients received ${fewest} to ${most} operations of others, where ${operations} are due`)
  }
}

/** Each user sees what was written for it, on another device: so many operations and no more. */
async function checkScopes(
  server: Server,
  { users, ofEach }: { users: number; ofEach: number },
): Promise<void> {
  await using readers = new Child('readers')
  for (let user = 0; user < users; user++) {
    const options: ReadersOptions = { url: server.url, count: 1, watermark: 0, firstUser: user }
    const { received } = await readers.call<{ received: number }>('connect', options)
    if (received !== ofEach) throw new Error(`user-${user} sees ${received} operations, not ${ofEach}`)
  }
}

/** One operation at a time: how long a person waits. */
async function runSingly(variant: string, options: RunOptions): Promise<Sample> {
  await using server = await Server.start(variant, { filename: newDatabase(options) })
  await using load = new Child('load')
  await load.call('connect', { url: server.url, clients: 1, watermark: 0 } satisfies LoadClients)
  const send = async (batchesPerClient: number): Promise<LoadResult> => {
    await load.call('prepare', { batchesPerClient, batchSize: 1, records: 'new' } satisfies LoadWork)
    return load.call<LoadResult>('send', { inFlight: 1 })
  }
  const warmUp = sized(options, 500, 5)
  const operations = sized(options, 3000, 20)
  await send(warmUp)
  const before = await server.usage()
  const { latenciesMs } = await server.profiled(`P5-${variant}`, options, () => send(operations))
  const after = await server.usage()
  await server.checkAdded(warmUp + operations)
  await checkDelivery(load, 0)
  return {
    p50: quantile(latenciesMs, 0.5),
    p99: quantile(latenciesMs, 0.99),
    cpu: ((after.cpuMs - before.cpuMs) / operations) * 10,
    peak: after.peakRssBytes / 1e6,
  }
}

export const ingestScenarios: readonly Scenario[] = [
  ingestScenario({
    name: 'P1',
    title: 'ingest, 1 client',
    clients: 1,
    isScoped: false,
    inFlight: 8,
    comparesDurability: true,
    bars: [
      { against: 'limit', atLeast: 0.45 },
      { against: 'limit-durable', atLeast: 0.7 },
    ],
  }),
  ingestScenario({
    name: 'P2',
    title: 'ingest, 4 clients that all see all',
    clients: 4,
    isScoped: false,
    inFlight: 4,
    bars: [
      { against: 'limit', atLeast: 0.5 },
      { against: 'limit-durable', atLeast: 0.7 },
    ],
  }),
  ingestScenario({
    name: 'P3',
    title: 'ingest, 16 clients, each its own scope',
    clients: 16,
    isScoped: true,
    inFlight: 2,
    bars: [
      { against: 'limit', atLeast: 0.45 },
      { against: 'limit-durable', atLeast: 0.7 },
    ],
  }),
  {
    name: 'P5',
    title: 'one operation at a time, 1 client',
    variants: [...VARIANTS_AND_BOUND, OURS_NORMAL],
    metrics: [
      {
        key: 'p50',
        label: 'acknowledged, p50',
        unit: 'ms',
        bars: [{ against: 'limit', atMost: 2.5 }, AGAINST_PROMISES, AGAINST_NORMAL],
      },
      { key: 'p99', label: 'acknowledged, p99', unit: 'ms' },
      { key: 'cpu', label: 'server CPU per 10,000', unit: 's' },
      { key: 'peak', label: 'peak memory', unit: 'MB' },
    ],
    run: runSingly,
  },
]
