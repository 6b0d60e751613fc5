import { sizeOf } from '../charts/draw-charts.ts'
import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Metric, Sample, Scenario } from '../harness/scenario.ts'
import { filledDatabase, Server } from '../harness/server.ts'
import { growthExponent, median } from '../harness/statistics.ts'
import type { ReadersOptions } from '../processes/readers.ts'

const VARIANTS = ['kora', 'limit']

export async function firstSync(
  server: Server,
  { clients, user, expected }: { clients: number; user?: string; expected: number },
): Promise<number> {
  await using readers = new Child('readers')
  const { elapsedMs, received } = await readers.call<{ elapsedMs: number; received: number }>('connect', {
    url: server.url,
    count: clients,
    watermark: 0,
    ...(user !== undefined && { user }),
  } satisfies ReadersOptions)
  if (received !== clients * expected) throw new Error(`${received} operations of ${clients * expected}`)
  return elapsedMs
}

const whole: Scenario = {
  name: 'P11',
  title: 'first sync of 100,000 operations, 1 and 8 clients at once',
  variants: [...VARIANTS, 'limit-promises'],
  metrics: [
    {
      key: 'one',
      label: '1 client',
      unit: 'ms',
      bars: [{ against: 'limit', atMost: 1 / 0.7 }, { against: 'limit-promises' }],
    },
    {
      key: 'eight',
      label: '8 clients',
      unit: 'ms',
      bars: [{ against: 'limit', atMost: 1 / 0.9 }, { against: 'limit-promises' }],
    },
    { key: 'cpu', label: '8 clients, server CPU', unit: 'ms' },
    { key: 'peak', label: 'peak memory (P12)', unit: 'MB', bars: [{ against: 'limit', atMost: 1.1 }] },
  ],
  async run(variant, options) {
    const operations = sized(options, 100_000, 250)
    const filename = await filledDatabase(variant, options, { operations })
    await using server = await Server.start(variant, { filename })
    const one = await firstSync(server, { clients: 1, expected: operations })
    const before = await server.usage()
    const eight = await server.profiled(`P11-${variant}`, options, () =>
      firstSync(server, { clients: 8, expected: operations }),
    )
    const after = await server.usage()
    await server.checkAdded(0)
    return { one, eight, cpu: after.cpuMs - before.cpuMs, peak: after.peakRssBytes / 1e6 }
  },
}

const LOG_LENGTHS = [2000, 20_000, 200_000]

/** A client that may see a hundred operations of however many. */
async function sparse(variant: string, options: RunOptions): Promise<Sample> {
  const sample: Record<string, number> = {}
  const points: [number, number][] = []
  for (const full of LOG_LENGTHS) {
    const operations = sized(options, full, full / 500)
    const { ms, cpu, peak } = await sparseFirstSync(variant, options, operations)
    sample[`ms-${full}`] = ms
    points.push([operations, ms])
    Object.assign(sample, { cpu, peak }) // of the longest in the end
  }
  return { ...sample, exponent: growthExponent(points) }
}

/** Of several clients one after the other. A type, not an interface: it is the sample of a scenario. */
type SparseSync = {
  /** The median. */
  readonly ms: number
  /** ms of the server's, for each of them. */
  readonly cpu: number
  /** MB. */
  readonly peak: number
}

async function sparseFirstSync(
  variant: string,
  options: RunOptions,
  operations: number,
): Promise<SparseSync> {
  const expected = Math.min(100, operations)
  const filename = await filledDatabase(variant, options, { operations, rare: expected })
  await using server = await Server.start(variant, { filename, access: 'scoped' })
  const times: number[] = []
  const clients = sized(options, 15, 1)
  const before = await server.usage()
  await server.profiled(`${options.label}-${operations}`, options, async () => {
    while (times.length < clients) {
      times.push(await firstSync(server, { clients: 1, user: 'user-rare', expected }))
    }
  })
  const { cpuMs, peakRssBytes } = await server.usage()
  await server.checkAdded(0)
  return { ms: median(times), cpu: (cpuMs - before.cpuMs) / clients, peak: peakRssBytes / 1e6 }
}

/** What P13 measures, further out. */
const sparseGrowth: Scenario = {
  name: 'F5',
  title: 'first sync of 100 visible operations in logs of up to 1,000,000',
  variants: ['1,000,000', '100,000', '10,000', '1,000'],
  metrics: [
    { key: 'ms', label: 'first sync', unit: 'ms', bars: [{ against: '1,000', atMost: 1.5 }] },
    { key: 'cpu', label: 'server CPU', unit: 'ms' },
    { key: 'peak', label: 'peak memory', unit: 'MB' },
  ],
  isGrowth: true,
  chart: { file: 'growth-first-sync', metric: 'first sync', xLabel: 'operations in the log' },
  async run(variant, options) {
    const operations = sized(options, sizeOf(variant), Math.min(sizeOf(variant), 2000))
    return await sparseFirstSync('kora', options, operations)
  },
}

export const firstSyncScenarios: readonly Scenario[] = [
  whole,
  sparseGrowth,
  {
    name: 'P13',
    title: 'first sync of 100 visible operations',
    variants: VARIANTS,
    metrics: [
      ...LOG_LENGTHS.map(
        (operations): Metric => ({
          key: `ms-${operations}`,
          label: `in a log of ${operations.toLocaleString('en')}`,
          unit: 'ms',
          ...(operations === 200_000 && { bars: [{ against: 'limit', atMost: 2.5 }] }),
        }),
      ),
      { key: 'exponent', label: 'growth with the log', unit: '', bars: [{ atMost: 0.1 }] },
      { key: 'cpu', label: 'server CPU, in a log of 200,000', unit: 'ms' },
      { key: 'peak', label: 'peak memory, with a log of 200,000', unit: 'MB' },
    ],
    run: sparse,
  },
]
