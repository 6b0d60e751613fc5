import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Metric, Sample, Scenario } from '../harness/scenario.ts'
import { filledDatabase, Server } from '../harness/server.ts'
import { growthExponent } from '../harness/statistics.ts'
import type { ReadersOptions } from '../processes/readers.ts'

const VARIANTS = ['kora', 'limit']

async function firstSync(
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
  variants: VARIANTS,
  metrics: [
    { key: 'one', label: '1 client', unit: 'ms', bars: [{ against: 'limit', atMost: 1 / 0.7 }] },
    { key: 'eight', label: '8 clients', unit: 'ms', bars: [{ against: 'limit', atMost: 1 / 0.9 }] },
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
    const expected = Math.min(100, operations)
    const filename = await filledDatabase(variant, options, { operations, rare: expected })
    await using server = await Server.start(variant, { filename, access: 'scoped' })
    const times = []
    for (let round = 0; round < sized(options, 15, 2); round++) {
      times.push(await firstSync(server, { clients: 1, user: 'user-rare', expected }))
    }
    times.sort((a, b) => a - b)
    const typical = times[times.length >> 1] ?? Number.NaN
    sample[`ms-${full}`] = typical
    points.push([operations, typical])
  }
  return { ...sample, exponent: growthExponent(points) }
}

export const firstSyncScenarios: readonly Scenario[] = [
  whole,
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
    ],
    run: sparse,
  },
]
