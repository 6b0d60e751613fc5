import type { Operation } from '../../src/core/operation.ts'
import { serve } from '../harness/child.ts'
import { sharedNow } from '../harness/clock.ts'
import { Connection } from '../harness/connection.ts'
import { batchFrame, OperationSource } from '../workload/operations.ts'

export interface LoadClients {
  readonly url: string
  readonly clients: number
  readonly watermark: number
  /** Each client is a user of its own, `user-<index>`, with a token. */
  readonly scoped?: boolean
  readonly isChecking?: boolean
}

export interface LoadWork {
  readonly batchesPerClient: number
  readonly batchSize: number
  /**
   * `one`: after its insert, everything updates the same record. `edits`: the same of a record whose
   * field is merged; `late-edits`: with clocks before those of the last edits.
   */
  readonly records: 'new' | 'one' | 'edits' | 'late-edits'
}

export interface LoadResult {
  readonly elapsedMs: number
  /** When each batch left, in order, on the shared clock. One client only. */
  readonly sentAt: readonly number[]
  /** ms from sending to the acknowledgment, of each batch. */
  readonly latenciesMs: readonly number[]
}

/** What the writers have received of each other: operations, of the one with the fewest and of that with the most. */
export interface Received {
  readonly fewest: number
  readonly most: number
  readonly breaks: number
  readonly duplicates: number
}

/** Writers: what they send is made beforehand, so that the run measures the server. */
class Load {
  readonly #connections: Connection[] = []
  readonly #sources: OperationSource[] = []
  #frames: string[][] = []
  #batches = 0
  #credit: (batches: number) => void = () => {}
  #recordId: string | null = null
  #noteId: string | null = null

  async connect({ url, clients, watermark, scoped, isChecking = false }: LoadClients): Promise<void> {
    for (let index = 0; index < clients; index++) {
      const user = `user-${index}`
      const source = new OperationSource(undefined, user)
      this.#sources.push(source)
      this.#connections.push(
        new Connection({
          url,
          nodeId: source.nodeId,
          watermark,
          isChecking,
          ...(scoped && { user }),
        }),
      )
    }
    await Promise.all(this.#connections.map((connection) => connection.ready))
  }

  prepare({ batchesPerClient, batchSize, records }: LoadWork): void {
    this.#frames = this.#sources.map((source) =>
      Array.from({ length: batchesPerClient }, () => {
        const operations = Array.from({ length: batchSize }, () => this.#author(source, records))
        return batchFrame(`b${this.#batches++}`, operations)
      }),
    )
  }

  #author(source: OperationSource, records: LoadWork['records']): Operation {
    if (records === 'one' && this.#recordId !== null) return source.update(this.#recordId)
    if (records === 'edits' || records === 'late-edits') {
      const edit = source.edit(this.#noteId, records === 'late-edits')
      this.#noteId = edit.recordId
      return edit
    }
    const operation = source.insert()
    this.#recordId = operation.recordId
    return operation
  }

  /** Sends everything, each client with so many batches on their way; ends with the last acknowledgment. */
  async send({ inFlight }: { inFlight: number }): Promise<LoadResult> {
    const sentAt: number[] = []
    const latenciesMs: number[] = []
    const startedAt = sharedNow()
    const sendAll = (connection: Connection, frames: readonly string[]): Promise<void> =>
      new Promise((resolve, reject) => {
        const times: number[] = []
        let acknowledged = 0
        const sendNext = (): void => {
          const frame = frames[times.length]
          if (frame === undefined) return
          times.push(sharedNow())
          connection.send(frame)
        }
        connection.onFailed = reject
        connection.onAcknowledged = () => {
          latenciesMs.push(sharedNow() - (times[acknowledged++] ?? 0))
          if (acknowledged === frames.length) {
            sentAt.push(...times)
            resolve()
          } else sendNext()
        }
        for (let count = 0; count < inFlight; count++) sendNext()
      })
    await Promise.all(
      this.#connections.map((connection, index) => sendAll(connection, this.#frames[index] ?? [])),
    )
    return { elapsedMs: sharedNow() - startedAt, sentAt, latenciesMs }
  }

  /** One client; a batch is on its way until somebody else has said that it has arrived everywhere. */
  async sendOnCredit({ inFlight }: { inFlight: number }): Promise<LoadResult> {
    const [connection] = this.#connections
    const [frames = []] = this.#frames
    const sentAt: number[] = []
    const startedAt = sharedNow()
    await new Promise<void>((resolve, reject) => {
      if (connection === undefined) return
      connection.onFailed = reject
      this.#credit = (arrived) => {
        while (sentAt.length < Math.min(frames.length, arrived + inFlight)) {
          sentAt.push(sharedNow())
          connection.send(frames[sentAt.length - 1] ?? '')
        }
        if (arrived >= frames.length) resolve()
      }
      this.#credit(0)
    })
    return { elapsedMs: sharedNow() - startedAt, sentAt, latenciesMs: [] }
  }

  credit({ batches }: { batches: number }): void {
    this.#credit(batches)
  }

  /** One client sends at fixed times, whatever comes back. */
  async sendPaced({ perSecond }: { perSecond: number }): Promise<LoadResult> {
    const [connection] = this.#connections
    const [frames = []] = this.#frames
    const sentAt: number[] = []
    const startedAt = sharedNow()
    for (const frame of frames) {
      const waitMs = startedAt + (sentAt.length * 1000) / perSecond - sharedNow()
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
      sentAt.push(sharedNow())
      connection?.send(frame)
    }
    return { elapsedMs: sharedNow() - startedAt, sentAt, latenciesMs: [] }
  }

  /** Waits until every client has received so many operations, and all else that is on its way. */
  async received({ operations }: { operations: number }): Promise<Received> {
    await Promise.all(
      this.#connections.map(async (connection) => {
        await new Promise<void>((resolve) => {
          connection.onBatch = () => {
            if (connection.received >= operations) resolve()
          }
          connection.onBatch()
        })
        await connection.settled()
      }),
    )
    const counts = this.#connections.map(({ received }) => received)
    return {
      fewest: Math.min(...counts),
      most: Math.max(...counts),
      breaks: this.#connections.reduce((sum, { breaks }) => sum + breaks, 0),
      duplicates: this.#connections.reduce((sum, { duplicates }) => sum + duplicates, 0),
    }
  }
}

const load = new Load()
serve({
  connect: (params: LoadClients) => load.connect(params),
  prepare: (params: LoadWork) => load.prepare(params),
  send: (params: { inFlight: number }) => load.send(params),
  sendOnCredit: (params: { inFlight: number }) => load.sendOnCredit(params),
  sendPaced: (params: { perSecond: number }) => load.sendPaced(params),
  credit: (params: { batches: number }) => load.credit(params),
  received: (params: { operations: number }) => load.received(params),
})
