import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const SHORT = sized(1000, 10_000)
const LONG = sized(10_000, 1_000_000)
const REPEATS = 30
/** Ten, or a hundred, times the log. Work that grew with it would cost that much more. */
const MAX_RATIO = 3

interface Costs {
  readonly ingest: number
  readonly handshake: number
  readonly catchUp: number
}

/** CPU of this process, server and client, in ms. */
async function cpuMsOf(action: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  for (let repeat = 0; repeat < REPEATS; repeat++) await action()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

async function costsAt(operations: number): Promise<Costs> {
  using directory = temporaryDirectory()
  const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal' })
  const author = new OperationAuthor('author')
  let made = 0
  const batch = (count: number) =>
    Array.from({ length: count }, () => author.insert(recordIdOf(`${made++}`), { title: `${made}`, n: made }))
  while (made < operations) await appendAll(store, batch(1000))
  await using server = await startSocketServer({ store, maxOpsPerMinute: 0 })
  const reach = async (watermark: number): Promise<void> => {
    using client = await server.connect('reader', {}, { lastDeliverySequence: watermark })
    expect(client.isEnded).toBe(false)
  }
  using writer = await server.connect('author', {}, { lastDeliverySequence: operations })
  let sent = 0
  const write = async (): Promise<void> => {
    const message = { type: 'operation-batch', messageId: `${sent++}`, isFinal: true, batchIndex: 0 }
    writer.send({ ...message, operations: batch(100) })
    await writer.until(() => writer.ofType('acknowledgment').length === sent)
  }
  await reach(operations)
  await write() // what is compiled the first time is not counted
  const costs = {
    handshake: await cpuMsOf(() => reach(made)),
    catchUp: await cpuMsOf(() => reach(made - 100)),
    ingest: await cpuMsOf(write),
  }
  await store.close()
  return costs
}

test(
  'what a write, a handshake and a short catch-up cost does not grow with the log',
  async () => {
    await costsAt(0) // for the compiler
    const [short, long] = [await costsAt(SHORT), await costsAt(LONG)]

    const ratios = {
      'ingest ratio': round(long.ingest / short.ingest),
      'handshake ratio': round(long.handshake / short.handshake),
      'catch-up ratio': round(long.catchUp / short.catchUp),
    }
    reportFigures('log growth', { 'short log': SHORT, 'long log': LONG, ...ratios })
    for (const ratio of Object.values(ratios)) expect(ratio).toBeLessThan(MAX_RATIO)
  },
  timeoutMs(120_000),
)

function round(ratio: number): number {
  return Math.round(ratio * 100) / 100
}
