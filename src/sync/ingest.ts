import { StoreError } from '../core/errors.ts'
import { LOG_EVENTS, type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { endSpan, startSpan } from '../core/tracing.ts'
import type { AppendRequest, AppendResult, LogEntry, ServerStore, ServerWrite } from '../store/store.ts'
import { noMetrics, type SyncMetrics } from './sync-metrics.ts'

export interface IngestOptions {
  /** Operations of one transaction at most, unless a single batch holds more. */
  readonly maxGroupOperations: number
  /** Bytes of operations that may wait; above it sockets are paused. */
  readonly maxQueuedBytes: number
  readonly onCommitted: (entries: readonly LogEntry[]) => void
  readonly metrics?: SyncMetrics
}

type IngestRequest = AppendRequest | ServerWrite

interface QueuedBatch {
  readonly requests: readonly IngestRequest[]
  readonly bytes: number
  readonly resolve: (results: readonly AppendResult[]) => void
  readonly reject: (error: unknown) => void
}

/**
 * Group commit: what many sessions hand in while a transaction runs goes into the next one, with
 * one fsync for all. Batches are stored in the order in which they were submitted.
 */
export class Ingest {
  readonly #store: ServerStore
  readonly #runtime: Runtime
  readonly #logger: Logger
  readonly #options: IngestOptions
  readonly #metrics: SyncMetrics
  #queue: QueuedBatch[] = []
  #queuedBytes = 0
  #isCommitting = false
  #isScheduled = false
  #idle: { promise: Promise<void>; resolve: () => void } | null = null
  #roomWaiters: (() => void)[] = []

  constructor(store: ServerStore, runtime: Runtime, logger: Logger, options: IngestOptions) {
    this.#store = store
    this.#runtime = runtime
    this.#logger = logger
    this.#options = options
    this.#metrics = options.metrics ?? noMetrics
  }

  /** True while more waits than is good for memory: stop reading from sockets. */
  get isFull(): boolean {
    return this.#queuedBytes >= this.#options.maxQueuedBytes
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** Resolves when the queue has room again. */
  whenRoom(): Promise<void> {
    if (!this.isFull) return Promise.resolve()
    return new Promise((resolve) => this.#roomWaiters.push(resolve))
  }

  /**
   * Stores a batch. Settles once its operations are durable, were stored before, or are refused.
   *
   * @throws StoreError when nothing of it was stored
   */
  submit(requests: readonly IngestRequest[]): Promise<readonly AppendResult[]> {
    return new Promise((resolve, reject) => {
      const bytes = requests.reduce((sum, request) => sum + sizeOf(request), 0)
      this.#queue.push({ requests, bytes, resolve, reject })
      this.#queuedBytes += bytes
      this.#schedule()
    })
  }

  /** Resolves when nothing waits and nothing is being written. */
  drain(): Promise<void> {
    if (this.#queue.length === 0 && !this.#isCommitting) return Promise.resolve()
    if (this.#idle === null) {
      let resolve = (): void => {}
      const promise = new Promise<void>((settle) => {
        resolve = settle
      })
      this.#idle = { promise, resolve }
    }
    return this.#idle.promise
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isCommitting) return
    this.#isScheduled = true
    // Deferred, so that whatever the sockets have already received joins the group.
    this.#runtime.defer(() => {
      this.#isScheduled = false
      void this.#commitQueued()
    })
  }

  async #commitQueued(): Promise<void> {
    this.#isCommitting = true
    while (this.#queue.length > 0) await this.#commitGroup(this.#takeGroup())
    this.#isCommitting = false
    this.#idle?.resolve()
    this.#idle = null
  }

  /** Commits one group. A batch settles only once its operations are durable. */
  async #commitGroup(group: readonly QueuedBatch[]): Promise<void> {
    const requests = group.length === 1 && group[0] ? group[0].requests : group.flatMap((b) => b.requests)
    const startedAt = this.#runtime.monotonicNow()
    const span = startSpan('kora.commit', {
      'kora.operations': requests.length,
      'kora.batches': group.length,
    })
    let results: readonly AppendResult[]
    try {
      results = await this.#store.append(requests)
    } catch (error) {
      endSpan(span, error)
      this.#metrics.operations('failed', requests.length)
      logEvent(this.#logger, LOG_EVENTS.commitFailed, { operations: requests.length, err: error })
      const failure =
        error instanceof StoreError
          ? error
          : new StoreError('STORE_UNAVAILABLE', 'The store could not commit.', { cause: error })
      for (const batch of group) batch.reject(failure) // nothing was stored: the clients send again
      return
    } finally {
      this.#release(group)
    }
    const entries = results.flatMap((result) => (result.status === 'applied' ? result.entries : []))
    endSpan(span)
    const durationMs = this.#runtime.monotonicNow() - startedAt
    this.#metrics.committed(requests.length, durationMs)
    countOutcomes(results, this.#metrics)
    settleEach(group, results)
    this.#options.onCommitted(entries)
    logEvent(this.#logger, LOG_EVENTS.batchCommitted, {
      operations: requests.length,
      applied: entries.length,
      durationMs,
    })
  }

  #takeGroup(): readonly QueuedBatch[] {
    let operations = 0
    let count = 0
    for (const batch of this.#queue) {
      if (count > 0 && operations + batch.requests.length > this.#options.maxGroupOperations) break
      operations += batch.requests.length
      count++
    }
    return this.#queue.splice(0, count)
  }

  #release(group: readonly QueuedBatch[]): void {
    for (const batch of group) this.#queuedBytes -= batch.bytes
    if (this.isFull) return
    const waiters = this.#roomWaiters
    this.#roomWaiters = []
    for (const proceed of waiters) proceed()
  }
}

/** A write of the server is given its text only when it is stored; its values are what it weighs. */
function sizeOf(request: IngestRequest): number {
  return 'wireJson' in request ? request.wireJson.length : JSON.stringify(request.data).length
}

function countOutcomes(results: readonly AppendResult[], metrics: SyncMetrics): void {
  let applied = 0
  let duplicate = 0
  for (const { status } of results) {
    if (status === 'applied') applied++
    else if (status === 'duplicate') duplicate++
  }
  const refused = results.length - applied - duplicate
  if (applied > 0) metrics.operations('applied', applied)
  if (duplicate > 0) metrics.operations('duplicate', duplicate)
  if (refused > 0) metrics.operations('refused', refused)
}

function settleEach(group: readonly QueuedBatch[], results: readonly AppendResult[]): void {
  let start = 0
  for (const batch of group) {
    batch.resolve(results.slice(start, start + batch.requests.length))
    start += batch.requests.length
  }
}
