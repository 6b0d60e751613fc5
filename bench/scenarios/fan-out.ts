import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Metric, Sample, Scenario } from '../harness/scenario.ts'
import { newDatabase, Server, VARIANTS } from '../harness/server.ts'
import { quantile } from '../harness/statistics.ts'
import type { LoadClients, LoadResult, LoadWork } from '../processes/load.ts'
import type { ArrivedEvent, ReadersOptions, WatchOptions, WatchResult } from '../processes/readers.ts'

interface FanOutShape {
  readonly readers: number
  readonly batches: number
  readonly batchSize: number
  /** Batches on their way to the slowest reader, or a fixed pace. */
  readonly pace: { readonly inFlight: number } | { readonly perSecond: number }
}

/** One writer, many readers that see all of it. */
async function fanOut(
  server: Server,
  shape: FanOutShape,
  options: RunOptions,
  label: string,
): Promise<Sample> {
  const { readers: count, batches, batchSize, pace } = shape
  await using load = new Child('load')
  await using readers = new Child('readers')
  await load.call('connect', { url: server.url, clients: 1, watermark: 0 } satisfies LoadClients)
  await load.call('prepare', { batchesPerClient: batches, batchSize, records: 'new' } satisfies LoadWork)
  const isChecking = options.size === 'smoke'
  await readers.call('connect', { url: server.url, count, watermark: 0, isChecking } satisfies ReadersOptions)
  readers.onEvent((event: ArrivedEvent) => load.tell('credit', event))
  const watching = readers.call<WatchResult>('watch', {
    watermark: 0,
    batches,
    batchSize,
  } satisfies WatchOptions)
  const before = await server.usage()
  const { sentAt } = await server.profiled(label, options, () =>
    load.call<LoadResult>('inFlight' in pace ? 'sendOnCredit' : 'sendPaced', pace),
  )
  const { arrivedAt, breaks, duplicates, received } = await watching
  const after = await server.usage()
  const deliveries = count * batches * batchSize
  if (breaks + duplicates > 0 || received !== deliveries) {
    throw new Error(`${breaks} breaks, ${duplicates} duplicates, ${received} of ${deliveries} deliveries`)
  }
  await server.checkAdded(batches * batchSize)
  const latencies = Array.from(arrivedAt, (time, index) => time - (sentAt[index % batches] ?? 0))
  return {
    rate: (deliveries / (Math.max(...arrivedAt) - (sentAt[0] ?? 0))) * 1000,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    cpu: ((after.cpuMs - before.cpuMs) / deliveries) * 1000,
    peak: after.peakRssBytes / 1e6,
  }
}

function saturating(name: string, readers: number): Scenario {
  return {
    name,
    title: `fan-out, ${readers} readers, 8 batches in flight`,
    variants: VARIANTS,
    metrics: [
      { key: 'rate', label: 'deliveries/s', unit: '/s', bars: [{ against: 'limit', atLeast: 0.5 }] },
      { key: 'p99', label: 'sent to received, p99', unit: 'ms' },
      { key: 'cpu', label: 'server CPU per delivery', unit: 'µs' },
      { key: 'peak', label: 'peak memory', unit: 'MB' },
    ],
    async run(variant, options) {
      await using server = await Server.start(variant, { filename: newDatabase(options) })
      const batches = sized(options, readers > 100 ? 150 : 300, 3)
      const shape = { readers: sized(options, readers, 3), batches, batchSize: 100, pace: { inFlight: 8 } }
      return await fanOut(server, shape, options, `${name}-${variant}`)
    },
  }
}

const PACED_READERS = [50, 200]

const paced: Scenario = {
  name: 'P10',
  title: '20 messages a second to 50 and 200 readers',
  variants: VARIANTS,
  metrics: PACED_READERS.flatMap((readers): Metric[] => [
    { key: `p50-${readers}`, label: `sent to received by ${readers}, p50`, unit: 'ms' },
    {
      key: `p99-${readers}`,
      label: `sent to received by ${readers}, p99`,
      unit: 'ms',
      bars: [{ against: 'limit', atMost: 2.5 }],
    },
    { key: `cpu-${readers}`, label: `server CPU per delivery to ${readers}`, unit: 'µs' },
    { key: `peak-${readers}`, label: `peak memory, ${readers}`, unit: 'MB' },
  ]),
  async run(variant, options) {
    const sample: Record<string, number> = {}
    for (const readers of PACED_READERS) {
      await using server = await Server.start(variant, { filename: newDatabase(options) })
      const shape = {
        readers: sized(options, readers, 2),
        batches: sized(options, 200, 4),
        batchSize: 1,
        pace: { perSecond: 20 },
      }
      const measured = await fanOut(server, shape, options, `P10-${readers}-${variant}`)
      for (const key of ['p50', 'p99', 'cpu', 'peak']) {
        sample[`${key}-${readers}`] = measured[key] ?? Number.NaN
      }
    }
    return sample
  },
}

export const fanOutScenarios: readonly Scenario[] = [saturating('P8', 50), saturating('P9', 200), paced]
