import { Child } from '../harness/child.ts'
import { sharedNow } from '../harness/clock.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Sample, Scenario } from '../harness/scenario.ts'
import { filledDatabase, newDatabase, Server } from '../harness/server.ts'
import type { LoadClients, LoadWork } from '../processes/load.ts'
import type { ReadersOptions } from '../processes/readers.ts'

/** From the start of the process until it listens. */
const start: Scenario = {
  name: 'P14',
  title: 'start with an unchanged schema on 200,000 operations',
  variants: ['200,000', 'empty', 'limit'],
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
  ],
  async run(variant, options) {
    const operations = sized(options, 200_000, 200)
    const server = variant === 'limit' ? 'limit' : 'kora'
    const filename =
      variant === 'empty' ? newDatabase(options) : await filledDatabase(server, options, { operations })
    if (variant === 'empty') await (await Server.start(server, { filename }))[Symbol.asyncDispose]()
    const startedAt = sharedNow()
    await using running = await Server.start(server, { filename })
    await running.usage()
    return { ms: sharedNow() - startedAt }
  },
}

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
    for (; open < count; open += 100) await connect(Math.min(100, count - open))
    open = count
    await pause(sized(options, 1000, 10))
    const after = await server.usage(true)
    sample[`kB-${full}`] = (after.rssBytes - before.rssBytes) / count / 1000
  }
  await pause(sized(options, 2000, 10))
  const quiet = await server.usage()
  const quietMs = sized(options, 10_000, 50)
  await pause(quietMs)
  sample.cpu = (((await server.usage()).cpuMs - quiet.cpuMs) / quietMs) * 100
  return sample
}

/** How much more memory the server needs when clients do not read what they are sent. */
async function holdUnread(variant: string, options: RunOptions): Promise<Sample> {
  const clients = sized(options, 10, 2)
  const [withThem, without] = [
    await memoryAfterIngest(variant, clients, options),
    await memoryAfterIngest(variant, 0, options),
  ]
  return { extra: (withThem - without) / clients / 1e6, memory: withThem / 1e6 }
}

async function memoryAfterIngest(variant: string, stalled: number, options: RunOptions): Promise<number> {
  await using server = await Server.start(variant, { filename: newDatabase(options) })
  await using readers = new Child('readers')
  await using load = new Child('load')
  const count = Math.max(1, stalled)
  await readers.call('connect', { url: server.url, count, watermark: 0 } satisfies ReadersOptions)
  await readers.call(stalled > 0 ? 'stopReading' : 'close')
  await load.call('connect', { url: server.url, clients: 1, watermark: 0 } satisfies LoadClients)
  const work = { batchesPerClient: sized(options, 500, 2), batchSize: 100, records: 'new' } as const
  await load.call('prepare', work satisfies LoadWork)
  await load.call('send', { inFlight: 4 })
  return (await server.usage(true)).rssBytes
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
  {
    name: 'P19',
    title: 'clients that do not read, while 28 MB are written',
    variants: ['kora'],
    metrics: [
      { key: 'extra', label: 'memory for each of them', unit: 'MB', bars: [{ atMost: 4 + 16 }] },
      { key: 'memory', label: 'memory in all', unit: 'MB' },
    ],
    run: holdUnread,
  },
]
