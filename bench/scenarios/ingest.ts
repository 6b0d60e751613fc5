import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Bar, Sample, Scenario } from '../harness/scenario.ts'
import { INGEST_VARIANTS, newDatabase, Server, VARIANTS_AND_BOUND } from '../harness/server.ts'
import { quantile } from '../harness/statistics.ts'
import type { LoadClients, LoadResult, LoadWork } from '../processes/load.ts'

const BATCH = 100

/** No bar, but how near we are to what can be had with our promises. */
const AGAINST_PROMISES: Bar = { against: 'limit-promises' }
/** And what the limit would be, did it write as ours does. */
const AGAINST_BULK: Bar = { against: 'limit-bulk' }

interface IngestShape {
  readonly name: string
  readonly title: string
  readonly clients: number
  /** Each client sees only its own records; otherwise all see all. */
  readonly isScoped: boolean
  /** Batches of each client on their way. */
  readonly inFlight: number
  readonly bars: readonly Bar[]
}

function ingestScenario({ name, title, clients, isScoped, inFlight, bars }: IngestShape): Scenario {
  return {
    name,
    title,
    variants: INGEST_VARIANTS,
    metrics: [
      { key: 'rate', label: 'operations/s', unit: '/s', bars: [...bars, AGAINST_PROMISES, AGAINST_BULK] },
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
      if (!isScoped) await checkDelivery(load, (clients - 1) * (warmUp + batches) * BATCH)
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

/** Everybody must have everything of the others, once, in an unbroken chain. */
export async function checkDelivery(load: Child, operations: number): Promise<void> {
  const { breaks, duplicates } = await load.call<{ breaks: number; duplicates: number }>('received', {
    operations,
  })
  if (breaks + duplicates > 0) throw new Error(`${breaks} breaks and ${duplicates} duplicates in delivery`)
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
  await send(sized(options, 500, 5))
  const { latenciesMs } = await server.profiled(`P5-${variant}`, options, () =>
    send(sized(options, 3000, 20)),
  )
  return {
    p50: quantile(latenciesMs, 0.5),
    p99: quantile(latenciesMs, 0.99),
    peak: (await server.usage()).peakRssBytes / 1e6,
  }
}

export const ingestScenarios: readonly Scenario[] = [
  ingestScenario({
    name: 'P1',
    title: 'ingest, 1 client',
    clients: 1,
    isScoped: false,
    inFlight: 8,
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
    variants: VARIANTS_AND_BOUND,
    metrics: [
      {
        key: 'p50',
        label: 'acknowledged, p50',
        unit: 'ms',
        bars: [{ against: 'limit', atMost: 2.5 }, AGAINST_PROMISES],
      },
      { key: 'p99', label: 'acknowledged, p99', unit: 'ms' },
      { key: 'peak', label: 'peak memory', unit: 'MB' },
    ],
    run: runSingly,
  },
]
