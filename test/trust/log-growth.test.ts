import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { createSqliteServerStore, type SqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { type SocketClient, type SocketServer, startSocketServer } from '../support/socket-client.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const SHORT = 10_000
const LONG = sized(100_000, 1_000_000)
const SCOPES = IS_FULL ? [100, 1000] : [100]
/** Each scope has the 100 operations that a device of it catches up. */
const SCOPED = Math.max(...SCOPES) * 100
const REPEATS = 30
/** Ten, or a hundred, times the log: an index is one page deeper, and work that grew with it would cost as much more. */
const MAX_RATIO = sized(1.5, 1.3) // other tests run beside those of the gate
/** Operations of one scope lie apart, where they are of many: each is read from pages of its own. */
const MAX_SCOPES_RATIO = sized(1.75, 1.5)

type Cost = 'commit' | 'ingest' | 'handshake' | 'catch-up'

interface SceneOptions {
  readonly operations: number
  /** The operations belong to so many users in turns, each with a session that is open, and readers to one of them. */
  readonly scopes?: number
}

/** A server with a log and many devices, and a client that writes. */
class Scene implements AsyncDisposable {
  readonly #store: SqliteServerStore
  readonly #server: SocketServer
  readonly #scopes: number | null
  readonly #author = new OperationAuthor('author')
  #writer: SocketClient | null = null
  #made = 0
  #sent = 0

  constructor(store: SqliteServerStore, server: SocketServer, { scopes }: SceneOptions) {
    this.#store = store
    this.#server = server
    this.#scopes = scopes ?? null
  }

  async fill(operations: number): Promise<void> {
    if (this.#scopes !== null) await this.#store.trackScopeField('todos', 'userId', { isGranted: true })
    while (this.#made < operations) await appendAll(this.#store, this.#batch(1000))
    await this.#registerReaders(operations / 2)
    await this.#openSessions(this.#scopes ?? 0)
    if (this.#scopes !== null) await this.#catchUp(operations / this.#scopes) // of a new view everything is sent
    this.#writer = await this.#server.connect('author', {}, { lastDeliverySequence: operations })
  }

  /** One of each scope, of users to whom nothing that is written belongs: what is sent would count by sessions. */
  async #openSessions(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      const scopes = { todos: { userId: `idle ${n}` } }
      await this.#server.connect(`session ${n}`, { scopes }, { lastDeliverySequence: this.#made })
    }
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
    return this.#catchUp(what === 'handshake' ? 0 : 100)
  }

  async #write(count: number): Promise<void> {
    const writer = this.#writer
    if (writer === null) throw new Error('The scene is filled first')
    const message = { type: 'operation-batch', messageId: `${this.#sent++}`, isFinal: true, batchIndex: 0 }
    writer.send({ ...message, operations: this.#batch(count) })
    await writer.until(() => writer.ofType('acknowledgment').length === this.#sent)
  }

  /** A device comes that lacks so many operations of those that it may see. */
  async #catchUp(missing: number): Promise<void> {
    const lastDeliverySequence = this.#made - missing * (this.#scopes ?? 1)
    const scopes = this.#scopes === null ? null : { todos: { userId: 'user 0' } }
    using client = await this.#server.connect('reader', { scopes }, { lastDeliverySequence })
    const received = client.ofType('operation-batch').flatMap(({ operations }) => operations)
    expect(received.length).toBe(missing)
  }

  #batch(count: number) {
    return Array.from({ length: count }, () => {
      const userId = `user ${this.#made % (this.#scopes ?? 1)}`
      return this.#author.insert(ascendingId(this.#made++), { title: `${this.#made}`, n: this.#made, userId })
    })
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

async function openScene(filename: string, options: SceneOptions): Promise<Scene> {
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  const scene = new Scene(store, await startSocketServer({ store, maxOpsPerMinute: 0 }), options)
  await scene.fill(options.operations)
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
async function ratioOf(what: Cost, dear: Scene, cheap: Scene): Promise<number> {
  const costs: { readonly dear: number[]; readonly cheap: number[] } = { dear: [], cheap: [] }
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    costs.cheap.push(await cpuMsOf(() => cheap.act(what)))
    costs.dear.push(await cpuMsOf(() => dear.act(what)))
  }
  return round(cheapestTenth(costs.dear) / cheapestTenth(costs.cheap))
}

test(
  'what a write, a handshake and a short catch-up cost does not grow with the log',
  async () => {
    using directory = temporaryDirectory()
    await using short = await openScene(`${directory.path}/short.db`, { operations: SHORT })
    await using long = await openScene(`${directory.path}/long.db`, { operations: LONG })

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

test(
  'nor with the number of scopes',
  async () => {
    using directory = temporaryDirectory()
    await using one = await openScene(`${directory.path}/1.db`, { operations: SCOPED, scopes: 1 })
    for (const scopes of SCOPES) {
      await using many = await openScene(`${directory.path}/${scopes}.db`, { operations: SCOPED, scopes })

      const ratios = {
        'handshake ratio': await ratioOf('handshake', many, one),
        'catch-up ratio': await ratioOf('catch-up', many, one),
        'ingest ratio': await ratioOf('ingest', many, one),
      }
      reportFigures('growth with scopes', { operations: SCOPED, scopes, ...ratios })
      for (const ratio of Object.values(ratios)) expect(ratio).toBeLessThan(MAX_SCOPES_RATIO)
    }
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
