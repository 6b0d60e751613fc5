import { randomUUID } from 'node:crypto'
import { emit, serve } from '../harness/child.ts'
import { sharedNow } from '../harness/clock.ts'
import { Connection } from '../harness/connection.ts'

export interface ReadersOptions {
  readonly url: string
  readonly count: number
  /** They have everything up to here. */
  readonly watermark: number
  /** Each is a user of its own, `user-<index>`; the first index. */
  readonly firstUser?: number
  /** They have no token, and each asks for the records of its user itself. */
  readonly asks?: keyof typeof WISHES
  /** All are this user. */
  readonly user?: string
  readonly isChecking?: boolean
}

/** What a user may ask for beside its token, or without one. */
const WISHES = {
  /** Two fields, of which all users have the first in common. */
  scope: (userId: string) => ({ syncScope: { todos: { completed: false, userId } } }),
  subset: (userId: string) => ({ syncQueries: [{ collection: 'todos', where: { userId } }] }),
}

export interface ReadersCheck {
  readonly received: number
}

export interface WatchOptions {
  readonly watermark: number
  readonly batches: number
  readonly batchSize: number
}

/** Sent after each batch that has arrived at every reader: how many have so far. */
export interface ArrivedEvent {
  readonly batches: number
}

export interface WatchResult {
  /** When each batch was complete at each reader, on the shared clock: reader after reader. */
  readonly arrivedAt: Float64Array
  readonly breaks: number
  readonly duplicates: number
  /** Operations received by all readers together. */
  readonly received: number
}

/** Clients that only read. */
class Readers {
  #connections: Connection[] = []

  /** @returns ms until all had the whole of their first stream */
  async connect(options: ReadersOptions): Promise<{ elapsedMs: number; received: number }> {
    const { url, count, watermark, firstUser, user, asks, isChecking = false } = options
    const startedAt = sharedNow()
    const opened = Array.from({ length: count }, (_, index) => {
      const own = user ?? (firstUser === undefined ? undefined : `user-${firstUser + index}`)
      return new Connection({
        url,
        nodeId: randomUUID(),
        watermark,
        isChecking,
        ...(own !== undefined && (asks === undefined ? { user: own } : { wishes: WISHES[asks](own) })),
      })
    })
    this.#connections.push(...opened)
    await Promise.all(opened.map((connection) => connection.ready))
    const wrong = opened.filter(({ breaks, duplicates }) => breaks + duplicates > 0)
    if (wrong.length > 0) throw new Error(`${wrong.length} clients received gaps or duplicates`)
    return {
      elapsedMs: sharedNow() - startedAt,
      received: opened.reduce((sum, { received }) => sum + received, 0),
    }
  }

  async watch({ watermark, batches, batchSize }: WatchOptions): Promise<WatchResult> {
    const arrivedAt = new Float64Array(this.#connections.length * batches)
    const missing = Array.from({ length: batches }, () => this.#connections.length)
    let complete = 0
    await new Promise<void>((resolve, reject) => {
      this.#connections.forEach((connection, reader) => {
        let next = 0
        connection.onFailed = reject
        connection.onBatch = () => {
          while (next < batches && connection.position >= watermark + (next + 1) * batchSize) {
            arrivedAt[reader * batches + next] = sharedNow()
            missing[next] = (missing[next] ?? 0) - 1
            next++
          }
          const before = complete
          while (missing[complete] === 0) complete++
          if (complete > before) emit({ batches: complete } satisfies ArrivedEvent)
          if (complete === batches) resolve()
        }
      })
    })
    const sum = (of: (connection: Connection) => number): number =>
      this.#connections.reduce((total, connection) => total + of(connection), 0)
    return {
      arrivedAt,
      breaks: sum(({ breaks }) => breaks),
      duplicates: sum(({ duplicates }) => duplicates),
      received: sum(({ received }) => received),
    }
  }

  /** All must still be there, and have received so many operations each, and no more. */
  async check({ received }: ReadersCheck): Promise<void> {
    const closed = this.#connections.filter(({ isClosed }) => isClosed)
    if (closed.length > 0)
      throw new Error(`${closed.length} of ${this.#connections.length} clients are closed`)
    await Promise.all(this.#connections.map((connection) => connection.settled()))
    const wrong = this.#connections.filter((connection) => connection.received !== received)
    if (wrong.length > 0) {
      throw new Error(`${wrong.length} clients did not receive ${received} operations: ${wrong[0]?.received}`)
    }
  }

  stopReading(): void {
    for (const connection of this.#connections) connection.stopReading()
  }

  close(): void {
    for (const connection of this.#connections) connection.close()
    this.#connections = []
  }
}

const readers = new Readers()
serve({
  connect: (params: ReadersOptions) => readers.connect(params),
  watch: (params: WatchOptions) => readers.watch(params),
  check: (params: ReadersCheck) => readers.check(params),
  stopReading: () => readers.stopReading(),
  close: () => readers.close(),
})
