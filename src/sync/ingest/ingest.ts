import { SchemaError, StoreCapacityError, StoreError } from '../../core/errors.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import { endSpan, startSpan } from '../../core/tracing.ts'
import type { AppendResult, LogEntry, ServerStore } from '../../store/store.ts'
import { noMetrics, type SyncMetrics } from '../sync-metrics.ts'
import {
  bytesOf,
  entriesOf,
  type IngestRequest,
  operationsOf,
  type QueuedBatch,
  requestsOf,
  settleEach,
} from './queued-batch.ts'

export interface IngestOptions {
  /** Operations of one transaction at most, unless a single batch holds more. */
  readonly maxGroupOperations: number
  /** Bytes of operations that may wait, and one batch more; above it sockets are paused. */
  readonly maxQueuedBytes: number
  readonly onCommitted: (entries: readonly LogEntry[]) => void
  readonly metrics?: SyncMetrics
}

export interface CommitFailure {
  readonly error: unknown
  /** ms, monotonic */
  readonly at: number
}

/** How many operations the next transaction of a group is given, as a multiple of what the last one took up. */
const REST_GROWTH = 2

interface RoomWaiter {
  readonly bytes: number
  readonly proceed: () => void
}

/**
 * Group commit: what many sessions hand in while a transaction runs goes into the next one, with
 * one fsync for all. Batches are stored in the order in which they were submitted.
 */
export class Ingest {
  readonly #store: Pick<ServerStore, 'append'>
  readonly #runtime: Runtime
  readonly #logger: Logger
  readonly #options: IngestOptions
  readonly #metrics: SyncMetrics
  #queue: QueuedBatch[] = []
  #queuedOperations = 0
  #queuedBytes = 0
  #isCommitting = false
  #isScheduled = false
  /** How many operations the last transaction took up. */
  #lastTaken = 0
  #idle: { promise: Promise<void>; resolve: () => void } | null = null
  /** Callers that wait for room, in the order in which they came. */
  readonly #roomWaiters = new Set<RoomWaiter>()
  /** Bytes reserved for callers that were let in but have not submitted yet. */
  #promisedBytes = 0
  /** True from the moment a caller is let in until the event loop turns: it may not have submitted yet. */
  #hasPromised = false
  readonly #failedSources = new WeakSet<object>()
  #lastFailure: CommitFailure | null = null
  /** How many times another log has replaced the one before. */
  #replacements = 0

  constructor(store: Pick<ServerStore, 'append'>, runtime: Runtime, logger: Logger, options: IngestOptions) {
    this.#store = store
    this.#runtime = runtime
    this.#logger = logger
    this.#options = options
    this.#metrics = options.metrics ?? noMetrics
  }

  /**
   * True while callers must wait for room, and sockets must not be read, because too much is queued.
   * Also while a caller that was let in may not have submitted yet: one that came now would overtake it.
   */
  get isFull(): boolean {
    return this.#roomWaiters.size > 0 || this.#hasPromised || !this.#hasRoom
  }

  get #hasRoom(): boolean {
    return this.#queuedBytes + this.#promisedBytes < this.#options.maxQueuedBytes
  }

  /** The last commit that the database did not accept; null once it has accepted one since. */
  get lastFailure(): CommitFailure | null {
    return this.#lastFailure
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /**
   * Resolves when it is this batch's turn and the queue has room. Submit the batch at once, before awaiting
   * anything else: its room is reserved only until the event loop turns. A caller that no longer has anything to
   * submit need not say so.
   *
   * @param signal aborted by a caller that stops waiting; the promise then stays unsettled
   */
  whenRoom(requests: readonly IngestRequest[], signal?: AbortSignal): Promise<void> {
    return new Promise((proceed) => {
      const waiter = { bytes: bytesOf(requests), proceed }
      this.#roomWaiters.add(waiter)
      signal?.addEventListener('abort', () => this.#roomWaiters.delete(waiter))
      this.#letIn()
    })
  }

  /**
   * Stores a batch. Settles once its operations are durable, were stored before, or are refused.
   *
   * @param source whose batches build on one another: once one of them was not stored, none that
   *   follows is. Stored beyond the gap, they would raise the version vector over it, and the client
   *   would never send again what was lost.
   * @throws StoreError when nothing of it was stored
   */
  submit(requests: readonly IngestRequest[], source?: object): Promise<readonly AppendResult[]> {
    return new Promise((resolve, reject) => {
      if (source !== undefined && this.#failedSources.has(source)) {
        reject(earlierBatchFailed())
        return
      }
      const bytes = bytesOf(requests)
      this.#queue.push({ requests, bytes, source, earlierResults: [], resolve, reject })
      this.#queuedOperations += requests.length
      this.#queuedBytes += bytes
      this.#schedule()
    })
  }

  /**
   * Refuses the queued batches of a source, and any that it submits later. Only what is being written now is still
   * stored.
   */
  withdraw(source: object): void {
    this.#failedSources.add(source)
    this.#refuseQueued((batch) => this.#hasFailed(batch), earlierBatchFailed())
  }

  /**
   * Refuses all queued batches after another log has replaced the one that they were made for; the clients send
   * them again.
   */
  refuseWaiting(): void {
    this.#replacements++
    this.#refuseQueued(() => true, logReplaced())
  }

  /** Resolves when no batch is queued or being written, and no caller waits for room. */
  drain(): Promise<void> {
    if (this.#isIdle) return Promise.resolve()
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
    if (this.#isCommitting) return
    if (this.#isGroupFull) {
      void this.#commitQueued() // anything read before a later commit would only wait, and outlive the young heap
      return
    }
    if (this.#isScheduled) return
    this.#isScheduled = true
    // Deferred, so that whatever the sockets have already received joins the group.
    this.#runtime.defer(() => {
      this.#isScheduled = false
      if (!this.#isCommitting && this.#queue.length > 0) void this.#commitQueued()
    })
  }

  get #isGroupFull(): boolean {
    return this.#queuedOperations >= this.#options.maxGroupOperations
  }

  async #commitQueued(): Promise<void> {
    this.#isCommitting = true
    do {
      const group = this.#takeGroup()
      const replacements = this.#replacements
      let rest = await this.#commitGroup(group)
      while (rest.length > 0) rest = await this.#commitRest(rest, replacements)
      this.#release(group)
    } while (this.#queue.length > 0 && this.#isGroupFull)
    this.#isCommitting = false
    if (this.#queue.length > 0) this.#schedule()
    else this.#settleIdle()
  }

  get #isIdle(): boolean {
    return (
      this.#queue.length === 0 && !this.#isCommitting && !this.#hasPromised && this.#roomWaiters.size === 0
    )
  }

  #settleIdle(): void {
    if (!this.#isIdle) return
    this.#idle?.resolve()
    this.#idle = null
  }

  /**
   * Commits one group. A batch settles only once its operations are durable.
   *
   * @param maxOperations that are handed to the store, at most
   * @returns the rest of the group, where one transaction could not take up all of it
   */
  async #commitGroup(
    group: readonly QueuedBatch[],
    maxOperations = Number.POSITIVE_INFINITY,
  ): Promise<readonly QueuedBatch[]> {
    const requests = requestsOf(group, maxOperations)
    const replacements = this.#replacements
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
      if (group.length > 1 && isOfOneBatch(error)) {
        return this.#commitEach(group, { replacements, maxOperations })
      }
      const operations = operationsOf(group)
      this.#metrics.operations('failed', operations)
      logEvent(this.#logger, LOG_EVENTS.commitFailed, { operations, err: error })
      if (isUnavailable(error)) this.#lastFailure = { error, at: this.#runtime.monotonicNow() }
      this.#fail(group, failureOf(error))
      return []
    }
    this.#lastFailure = null
    this.#lastTaken = results.length
    const entries = entriesOf(results)
    endSpan(span)
    const durationMs = this.#runtime.monotonicNow() - startedAt
    this.#metrics.committed(results.length, durationMs)
    countOutcomes(results, this.#metrics)
    const rest = settleEach(group, results)
    this.#publish(entries)
    logEvent(this.#logger, LOG_EVENTS.batchCommitted, {
      operations: results.length,
      applied: entries.length,
      durationMs,
    })
    return rest
  }

  /**
   * Commits each batch by itself, so that the error of one does not keep the others from being stored.
   *
   * @param replacements when the group was handed to the store: if the log has been replaced since, the batches are
   *   refused
   * @param maxOperations as for `#commitGroup`, for each batch
   * @returns as `#commitGroup`
   */
  async #commitEach(
    group: readonly QueuedBatch[],
    { replacements, maxOperations }: { replacements: number; maxOperations: number },
  ): Promise<readonly QueuedBatch[]> {
    for (const [index, batch] of group.entries()) {
      if (this.#replacements !== replacements) batch.reject(logReplaced())
      else if (this.#hasFailed(batch)) batch.reject(earlierBatchFailed())
      else {
        const rest = await this.#commitGroup([batch], maxOperations)
        if (rest.length > 0) return [...rest, ...group.slice(index + 1)]
      }
    }
    return []
  }

  /**
   * Commits the next part of a group. It yields to the sockets first, because several large transactions in a row
   * would keep everyone else from the server. The store looks up all operations that it is handed, so it gets about
   * as many as it will take up.
   */
  async #commitRest(rest: readonly QueuedBatch[], replacements: number): Promise<readonly QueuedBatch[]> {
    await yieldToEventLoop(this.#runtime)
    if (this.#replacements !== replacements) {
      rejectEach(rest, logReplaced())
      return []
    }
    const withdrawn = rest.filter((batch) => this.#hasFailed(batch))
    rejectEach(withdrawn, earlierBatchFailed())
    const due = rest.filter((batch) => !this.#hasFailed(batch))
    return due.length === 0 ? [] : this.#commitGroup(due, REST_GROWTH * this.#lastTaken)
  }

  /** Publishes what was stored. An error thrown by a subscriber must not stop ingestion. */
  #publish(entries: readonly LogEntry[]): void {
    try {
      this.#options.onCommitted(entries)
    } catch (error) {
      logEvent(this.#logger, LOG_EVENTS.feedFailed, { err: error })
    }
  }

  /** Rejects a group of which nothing was stored. The clients send it again, with whatever was to follow it. */
  #fail(group: readonly QueuedBatch[], failure: StoreError): void {
    for (const { source } of group) if (source !== undefined) this.#failedSources.add(source)
    rejectEach(group, failure)
    this.#refuseQueued((batch) => this.#hasFailed(batch), failure)
  }

  #refuseQueued(isRefused: (batch: QueuedBatch) => boolean, failure: StoreError): void {
    const refused = this.#queue.filter(isRefused)
    this.#queue = this.#queue.filter((batch) => !isRefused(batch))
    this.#queuedOperations -= operationsOf(refused)
    this.#release(refused)
    rejectEach(refused, failure)
    this.#settleIdle()
  }

  #hasFailed({ source }: QueuedBatch): boolean {
    return source !== undefined && this.#failedSources.has(source)
  }

  #takeGroup(): readonly QueuedBatch[] {
    let operations = 0
    let count = 0
    for (const batch of this.#queue) {
      if (count > 0 && operations + batch.requests.length > this.#options.maxGroupOperations) break
      operations += batch.requests.length
      count++
    }
    this.#queuedOperations -= operations
    return this.#queue.splice(0, count)
  }

  #release(group: readonly QueuedBatch[]): void {
    for (const batch of group) this.#queuedBytes -= batch.bytes
    this.#letIn()
  }

  /**
   * Lets in waiting callers, in order, as long as there is room. Bytes are reserved for the batch of each:
   * otherwise all would be let in at once, and would together submit several times the limit.
   *
   * The reservations lapse when the event loop turns: by then every caller has submitted, and its batch counts as
   * queued. In between it counts twice, so some callers with room wait for that turn.
   */
  #letIn(): void {
    let isAnyLetIn = false
    for (const waiter of this.#roomWaiters) {
      if (!this.#hasRoom) break
      this.#roomWaiters.delete(waiter)
      this.#promisedBytes += waiter.bytes
      waiter.proceed()
      isAnyLetIn = true
    }
    if (!isAnyLetIn || this.#hasPromised) return
    this.#hasPromised = true
    this.#runtime.defer(() => {
      this.#hasPromised = false
      this.#promisedBytes = 0
      this.#letIn()
      this.#settleIdle()
    })
  }
}

function rejectEach(batches: readonly QueuedBatch[], failure: StoreError): void {
  for (const batch of batches) batch.reject(failure)
}

function failureOf(error: unknown): StoreError {
  if (error instanceof StoreError) return error
  const message = error instanceof SchemaError ? error.message : 'The store could not commit.'
  return new StoreError('STORE_UNAVAILABLE', message, { cause: error })
}

function isUnavailable(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'STORE_UNAVAILABLE'
}

/**
 * True for an error that one batch may have caused (a bug, a damaged row, a missing resolver, its size): the others
 * may not meet it.
 */
function isOfOneBatch(error: unknown): boolean {
  return (
    !(error instanceof StoreError) || error.code === 'STORE_CORRUPT' || error instanceof StoreCapacityError
  )
}

function logReplaced(): StoreError {
  return new StoreError('STORE_UNAVAILABLE', 'Another log has taken the place of the one before.')
}

function earlierBatchFailed(): StoreError {
  return new StoreError('STORE_UNAVAILABLE', 'An earlier batch of the same session was not stored.')
}

function countOutcomes(results: readonly AppendResult[], metrics: SyncMetrics): void {
  let applied = 0
  let duplicate = 0
  let ignored = 0
  for (const { status } of results) {
    if (status === 'applied') applied++
    else if (status === 'duplicate') duplicate++
    else if (status === 'ignored') ignored++
  }
  const refused = results.length - applied - duplicate - ignored
  if (applied > 0) metrics.operations('applied', applied)
  if (duplicate > 0) metrics.operations('duplicate', duplicate)
  if (ignored > 0) metrics.operations('ignored', ignored)
  if (refused > 0) metrics.operations('refused', refused)
}
