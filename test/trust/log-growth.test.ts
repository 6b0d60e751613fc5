import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { createSqliteServerStore, type SqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { type SocketClient, type SocketServer, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const SHORT = 10_000
const LONG = sized(100_000, 1_000_000)
const REPEATS = 30
/** Ten, or a hundred, times the log: an index is one page deeper, and work that grew with it would cost as much more. */
const MAX_RATIO = sized(1.5, 1.3) // other tests run beside those of the gate

type Cost = 'commit' | 'ingest' | 'handshake' | 'catch-up'

/** A server with a log and many devices, and a client that writes. */
class Scene implements AsyncDisposable {
  readonly #store: SqliteServerStore
  readonly #server: SocketServer
  readonly #author = new OperationAuthor('author')
  #writer: SocketClient | null = null
  #made = 0
  #sent = 0

  constructor(store: SqliteServerStore, server: SocketServer) {
    this.#store = store
    this.#server = server
  }

  async fill(operations: number): Promise<void> {
    while (this.#made < operations) await appendAll(this.#store, this.#batch(1000))
    await this.#registerReaders(operations / 2)
    this.#writer = await this.#server.connect('author', {}, { lastDeliverySequence: operations })
  }

  /** Devices that have come and written nothing, as most do of some apps. */
  async #registerReaders(count: number): Promise<void> {
    await Promise.all(
      Array.from({ length: count }, (_, n) => this.#store.registerNode({ nodeId: `reader ${n}` })),
    )
  }

  act(what: Cost): Promise<void> {
    if (what === 'commit') return this.#write(1)
    if (what === 'ingest') return this.#write(100)
    return this.#reach(what === 'handshake' ? this.#made : this.#made - 100)
  }

  async #write(count: number): Promise<void> {
    const writer = this.#writer
    if (writer === null) throw new Error('The scene is filled first')
    const message = { type: 'operation-batch', messageId: `${this.#sent++}`, isFinal: true, batchIndex: 0 }
    writer.send({ ...message, operations: this.#batch(count) })
    await writer.until(() => writer.ofType('acknowledgment').length === this.#sent)
  }

  async #reach(watermark: number): Promise<void> {
    using client = await this.#server.connect('reader', {}, { lastDeliverySequence: watermark })
    expect(client.isEnded).toBe(false)
  }

  #batch(count: number) {
    return Array.from({ length: count }, () =>
      this.#author.insert(ascendingId(this.#made++), { title: `${this.#made}`, n: this.#made }),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#writer?.socket.terminate()
    await this.#server[Symbol.asyncDispose]()
    await this.#store.close()
  }
}

/**
 * A UUID of version 7, as clients make them for their records: the next is put behind the last in every index.
 * Random ones are not what this is about: each comes upon a page of its own, whatever a server does.
 */
function ascendingId(count: number): string {
  const time = count.toString(16).padStart(12, '0')
  const random = createHash('sha256').update(time).digest('hex')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-8${random.slice(3, 6)}-${random.slice(6, 18)}`
}

async function openScene(filename: string, operations: number): Promise<Scene> {
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  const scene = new Scene(store, await startSocketServer({ store, maxOpsPerMinute: 0 }))
  await scene.fill(operations)
  return scene
}

/** CPU of this process, server and client, in ms. */
async function cpuMsOf(action: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await action()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/**
 * How much more one costs than the other: of actions in turn, so that what the machine or the compiler does
 * meanwhile meets both, and by the cheapest tenth of each, because all of that can only add to what an action
 * costs by itself.
 */
async function ratioOf(what: Cost, long: Scene, short: Scene): Promise<number> {
  const costs: { readonly long: number[]; readonly short: number[] } = { long: [], short: [] }
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    costs.short.push(await cpuMsOf(() => short.act(what)))
    costs.long.push(await cpuMsOf(() => long.act(what)))
  }
  return round(cheapestTenth(costs.long) / cheapestTenth(costs.short))
}

test(
  'what a write, a handshake and a short catch-up cost does not grow with the log',
  async () => {
    using directory = temporaryDirectory()
    await using short = await openScene(`${directory.path}/short.db`, SHORT)
    await using long = await openScene(`${directory.path}/long.db`, LONG)

    const ratios = {
      'handshake ratio': await ratioOf('handshake', long, short),
      'catch-up ratio': await ratioOf('catch-up', long, short),
      'commit ratio': await ratioOf('commit', long, short),
      'ingest ratio': await ratioOf('ingest', long, short),
    }
    reportFigures('log growth', { 'short log': SHORT, 'long log': LONG, ...ratios })
    for (const ratio of Object.values(ratios)) expect(ratio).toBeLessThan(MAX_RATIO)
  },
  timeoutMs(120_000),
)

/** The value that a tenth of all are below. */
function cheapestTenth(costs: readonly number[]): number {
  return costs.toSorted((a, b) => a - b)[Math.floor(costs.length / 10)] ?? 0
}

function round(ratio: number): number {
  return Math.round(ratio * 100) / 100
}
