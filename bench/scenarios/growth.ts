import { sizeOf } from '../charts/draw-charts.ts'
import { Child } from '../harness/child.ts'
import { type RunOptions, sized } from '../harness/options.ts'
import type { Sample, Scenario } from '../harness/scenario.ts'
import { filledDatabase, newDatabase, Server } from '../harness/server.ts'
import { growthExponent } from '../harness/statistics.ts'
import type { LoadClients, LoadResult, LoadWork } from '../processes/load.ts'
import type { ReadersCheck, ReadersOptions } from '../processes/readers.ts'
import { checkDelivery } from './ingest.ts'

const BATCH = 100

async function connectLoad(server: Server, watermark: number, scoped = false): Promise<Child> {
  const load = new Child('load')
  await load.call('connect', { url: server.url, clients: 1, watermark, scoped } satisfies LoadClients)
  return load
}

async function send(load: Child, batches: number, records: LoadWork['records'] = 'new'): Promise<number> {
  await load.call('prepare', { batchesPerClient: batches, batchSize: BATCH, records } satisfies LoadWork)
  return (await load.call<LoadResult>('send', { inFlight: 4 })).elapsedMs
}

/** Ingest and its price in CPU, after a warm-up. */
async function measureIngest(
  server: Server,
  load: Child,
  options: RunOptions,
  records: LoadWork['records'] = 'new',
): Promise<Sample> {
  await send(load, sized(options, 40, 1), records)
  const before = await server.usage()
  const batches = sized(options, 200, 2)
  const elapsedMs = await server.profiled(options.label, options, () => send(load, batches, records))
  const { cpuMs } = await server.usage()
  const operations = batches * BATCH
  const sent = operations + sized(options, 40, 1) * BATCH
  await server.checkAdded(sent, { records: records === 'one' ? 0 : sent })
  await checkDelivery(load, 0) // what it has written itself
  return { rate: (operations / elapsedMs) * 1000, cpu: ((cpuMs - before.cpuMs) / operations) * 10 }
}

const CPU = 'server CPU per 10,000'

const INGEST_METRICS = (name: string, bar: number): Scenario['metrics'] => [
  { key: 'rate', label: 'operations/s', unit: '/s', bars: [{ against: name, atLeast: bar }] },
  { key: 'cpu', label: CPU, unit: 's' },
]

const logLength: Scenario = {
  name: 'P6',
  title: 'ingest onto 200,000 operations, against our own empty log',
  variants: ['200,000', '20,000', 'empty'],
  metrics: INGEST_METRICS('empty', 0.9),
  async run(variant, options) {
    const full = variant === 'empty' ? 0 : sizeOf(variant)
    const operations = sized(options, full, full / 1000)
    const filename =
      operations === 0 ? newDatabase(options) : await filledDatabase('kora', options, { operations })
    await using server = await Server.start('kora', { filename })
    await using load = await connectLoad(server, operations)
    return await measureIngest(server, load, options)
  },
}

/** Ingest beside sessions that see nothing of it: with a token each, or such as ask for the records of their user themselves. */
function besideSessions(asks?: ReadersOptions['asks']): Scenario['run'] {
  const isScoped = asks === undefined
  return async (variant, options) => {
    const full = variant === 'none' ? 0 : sizeOf(variant)
    const count = sized(options, full, Math.min(full, 3))
    const access = isScoped ? 'scoped' : 'open'
    await using server = await Server.start('kora', { filename: newDatabase(options), access })
    await using load = await connectLoad(server, 0, isScoped)
    await using readers = new Child('readers')
    await readers.call('connect', {
      url: server.url,
      count,
      watermark: 0,
      firstUser: 1_000_000,
      ...(asks !== undefined && { asks }),
    } satisfies ReadersOptions)
    const sample = await measureIngest(server, load, options)
    await readers.call('check', { received: 0 } satisfies ReadersCheck)
    return sample
  }
}

const sessions: Scenario = {
  name: 'F1',
  title: 'ingest beside sessions that see nothing of it, each in its own scope',
  variants: ['3,000', '1,000', '100', '10', '1', 'none'],
  metrics: INGEST_METRICS('none', 0.9),
  isGrowth: true,
  chart: { file: 'growth-sessions', metric: CPU, xLabel: 'sessions that see nothing of it' },
  run: besideSessions(),
}

const sessionsOfTwoFields: Scenario = {
  name: 'F6',
  title: 'ingest beside sessions that see nothing of it, whose scopes have two fields, the first in common',
  variants: ['3,000', '100', 'none'],
  metrics: INGEST_METRICS('none', 0.9),
  isGrowth: true,
  run: besideSessions('scope'),
}

const sessionsWithSubsets: Scenario = {
  name: 'F7',
  title: 'ingest beside sessions that see nothing of it, without a scope, each with a subset',
  variants: ['3,000', '100', 'none'],
  metrics: INGEST_METRICS('none', 0.9),
  isGrowth: true,
  run: besideSessions('subset'),
}

/** Ingest onto a log of so many operations, of so many users. */
async function ingestOnto(
  { operations, users }: { operations: number; users?: number },
  options: RunOptions,
): Promise<Sample> {
  const filename = await filledDatabase('kora', options, { operations, ...(users && { users }) })
  await using server = await Server.start('kora', { filename })
  await using load = await connectLoad(server, operations)
  return await measureIngest(server, load, options)
}

const longLog: Scenario = {
  name: 'F2',
  title: 'ingest onto logs of up to 1,000,000 operations',
  variants: ['1,000,000', '100,000', '10,000', '1,000'],
  metrics: INGEST_METRICS('1,000', 0.8),
  isGrowth: true,
  chart: { file: 'growth-log', metric: CPU, xLabel: 'operations in the log before' },
  run: (variant, options) =>
    ingestOnto({ operations: sized(options, sizeOf(variant), Math.min(sizeOf(variant), 2000)) }, options),
}

const history: Scenario = {
  name: 'F3',
  title: 'updates of a record with up to 100,000 before',
  variants: ['100,000', '10,000', '1,000', '100'],
  metrics: INGEST_METRICS('100', 0.8),
  isGrowth: true,
  chart: { file: 'growth-history', metric: CPU, xLabel: 'updates of the record before' },
  async run(variant, options) {
    await using server = await Server.start('kora', { filename: newDatabase(options) })
    await using load = await connectLoad(server, 0)
    await send(load, sized(options, 40, 1)) // other records
    await server.checkAdded(sized(options, 40, 1) * BATCH)
    await send(load, sized(options, sizeOf(variant), 200) / BATCH, 'one')
    await server.checkAdded(sized(options, sizeOf(variant), 200), { records: 0 })
    return await measureIngest(server, load, options, 'one')
  },
}

const lateEdits: Scenario = {
  name: 'F8',
  title: 'late edits of a merged field, of a record with up to 10,000 edits before',
  variants: ['10,000', '1,000'],
  metrics: [{ key: 'cpu', label: 'server CPU per batch of 100', unit: 'ms' }],
  isGrowth: true,
  async run(variant, options) {
    await using server = await Server.start('kora', { filename: newDatabase(options) })
    await using load = await connectLoad(server, 0)
    const edits = sized(options, sizeOf(variant), 200)
    await send(load, edits / BATCH, 'edits')
    await send(load, 1, 'late-edits')
    const before = await server.usage()
    const batches = sized(options, 5, 1)
    await send(load, batches, 'late-edits')
    const { cpuMs } = await server.usage()
    await server.checkAdded(edits + (1 + batches) * BATCH, { records: 0 }) // the record is no todo
    await checkDelivery(load, 0)
    return { cpu: (cpuMs - before.cpuMs) / batches }
  },
}

const scopeValues: Scenario = {
  name: 'F4',
  title: 'ingest onto 100,000 operations of up to 100,000 scopes',
  variants: ['100,000', '10,000', '100', '1'],
  metrics: INGEST_METRICS('1', 0.8),
  isGrowth: true,
  chart: { file: 'growth-scopes', metric: CPU, xLabel: 'values of the scope field' },
  run: (variant, options) =>
    ingestOnto({ operations: sized(options, 100_000, 200), users: sizeOf(variant) }, options),
}

/** The same record again and again: what an update costs must not depend on those before it. */
async function updateOneRecord(variant: string, options: RunOptions): Promise<Sample> {
  await using server = await Server.start(variant, { filename: newDatabase(options) })
  await using load = await connectLoad(server, 0)
  await warmUp(server, load, options)
  const points: [number, number][] = []
  let updates = 0
  let elapsedMs = 0
  await server.profiled(`P7-${variant}`, options, async () => {
    for (const until of [500, 1000, 2000, 4000]) {
      elapsedMs += await send(load, (until - updates) / BATCH, 'one')
      updates = until
      points.push([updates, elapsedMs])
    }
  })
  await server.checkAdded(updates, { records: 0 })
  await checkDelivery(load, 0)
  return { rate: (updates / elapsedMs) * 1000, exponent: growthExponent(points) }
}

/** As many operations as P1 begins after, half of them updates of another record; the last insert is the one to update. */
async function warmUp(server: Server, load: Child, options: RunOptions): Promise<void> {
  const half = sized(options, 20, 1)
  await send(load, half)
  await send(load, half, 'one')
  await send(load, 1)
  await server.checkAdded((2 * half + 1) * BATCH, { records: (half + 1) * BATCH })
}

export const growthScenarios: readonly Scenario[] = [
  logLength,
  sessions,
  longLog,
  history,
  scopeValues,
  sessionsOfTwoFields,
  sessionsWithSubsets,
  lateEdits,
  {
    name: 'P7',
    title: '4,000 updates of one record',
    variants: ['kora', 'limit'],
    metrics: [
      { key: 'rate', label: 'operations/s', unit: '/s', bars: [{ against: 'limit', atLeast: 0.4 }] },
      { key: 'exponent', label: 'growth with the history', unit: '', bars: [{ atMost: 1.05 }] },
    ],
    run: updateOneRecord,
  },
]
