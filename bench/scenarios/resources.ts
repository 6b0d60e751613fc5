import { DEFAULT_SYNC_LIMITS } from '../../src/sync/options.ts'
import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Sample, Scenario } from '../harness/scenario.ts'
import { filledDatabase, newDatabase, Server } from '../harness/server.ts'
import type { ReadersCheck, ReadersOptions } from '../processes/readers.ts'

/** 200,000 too, with a configuration file in TypeScript instead of JSON. */
const TYPESCRIPT = 'kora.config.ts'

/** From the start of the process until it says that it listens. */
const start: Scenario = {
  name: 'P14',
  title: 'start with an unchanged schema on 200,000 operations',
  variants: ['200,000', 'empty', 'limit', TYPESCRIPT],
  metrics: [
    {
      key: 'ms',
      label: 'until it listens',
      unit: 'ms',
      bars: [
        { against: 'limit', atMost: 3 },
        { against: 'empty', atMost: 1.3 },
      ],
    },
    { key: 'cpu', label: 'server CPU', unit: 'ms' },
    { key: 'peak', label: 'peak memory', unit: 'MB' },
  ],
  async run(variant, options) {
    const operations = sized(options, 200_000, 200)
    const server = variant === 'limit' ? 'limit' : 'kora'
    const filename =
      variant === 'empty' ? newDatabase(options) : await filledDatabase(server, options, { operations })
    if (variant === 'empty') await (await Server.start(server, { filename }))[Symbol.asyncDispose]()
    const configFormat = variant === TYPESCRIPT ? 'ts' : 'json'
    const { profileDirectory: directory, label } = options
    const profile = directory === null ? undefined : { directory, label }
    await using running = await Server.start(server, { filename, configFormat, profile })
    const { cpuMs, peakRssBytes } = await running.usage()
    await running.checkAdded(0)
    return { ms: running.startMs, cpu: cpuMs, peak: peakRssBytes / 1e6 }
  },
}

/** Half of `limits.idleTimeout`: what a server does for idle clients is to ping each of them once in it. */
const PING_INTERVAL_MS = DEFAULT_SYNC_LIMITS.idleTimeoutMs / 2

/**
 * V8 collects up to three times more, eight seconds and longer apart, once something has happened: three times 0.1 s,
 * which is of what happened, and not of the idling. With `--no-memory-reducer` it does not.
 */
const SETTLING_MS = 40_000

async function holdIdle(variant: string, options: RunOptions): Promise<Sample> {
  await using server = await Server.start(variant, { filename: newDatabase(options) })
  await using readers = new Child('readers')
  const connect = (count: number): Promise<unknown> =>
    readers.call('connect', { url: server.url, count, watermark: 0 } satisfies ReadersOptions)
  const sample: Record<string, number> = {}
  await connect(sized(options, 50, 1)) // what the first connections load is not theirs
  const before = await server.usage(true)
  let open = 0
  for (const full of [1000, 3000]) {
    const count = sized(options, full, full / 1000)
    await server.profiled(`${options.label}-${full}`, options, async () => {
      for (; open < count; open += 100) await connect(Math.min(100, count - open))
    })
    open = count
    await pause(sized(options, 1000, 10))
    const after = await server.usage(true)
    sample[`kB-${full}`] = (after.rssBytes - before.rssBytes) / count / 1000
  }
  await pause(sized(options, SETTLING_MS, 10))
  const quiet = await server.usage()
  const quietMs = sized(options, PING_INTERVAL_MS, 50)
  await pause(quietMs)
  sample.cpu = (((await server.usage()).cpuMs - quiet.cpuMs) / quietMs) * 100
  await readers.call('check', { received: 0 } satisfies ReadersCheck)
  await server.checkAdded(0)
  return sample
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export const resourceScenarios: readonly Scenario[] = [
  start,
  {
    name: 'P15',
    title: 'idle connections',
    variants: ['kora', 'limit'],
    metrics: [
      {
        key: 'kB-1000',
        label: 'memory each, of 1,000',
        unit: 'kB',
        bars: [{ against: 'limit', atMost: 1.4 }],
      },
      {
        key: 'kB-3000',
        label: 'memory each, of 3,000',
        unit: 'kB',
        bars: [{ against: 'limit', atMost: 1.4 }],
      },
      { key: 'cpu', label: 'CPU while nothing happens, 3,000', unit: '%', bars: [{ atMost: 1 }] },
    ],
    run: holdIdle,
  },
]
