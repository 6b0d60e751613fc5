import { SchemaError, StoreError } from '../../core/errors.ts'
import { LOG_EVENTS } from '../../core/logger.ts'
import type { Timer } from '../../core/runtime.ts'
import { endSpan, startSpan } from '../../core/tracing.ts'
import type { ReceivedBatchMessage, ReceivedOperation } from '../../protocol/messages.ts'
import type { AppendRequest, AppendResult } from '../../store/store.ts'
import type { SessionIdentity } from '../session-identity.ts'
import { TokenBucket } from '../token-bucket.ts'
import { answerBatch } from './answer-batch.ts'
import { GapRetries, RETRIES_OVER_GAP_MS } from './gap-retries.ts'
import { GapWatch, isOfDelta } from './gap-watch.ts'
import { FUTURE_TOLERANCE_MS } from './guards.ts'
import { type Guarded, OperationGuards } from './operation-guards.ts'
import type { PushContext, PushSession } from './push-session.ts'

/**
 * Clients give up on an unanswered live batch after 30 s. Where one would have to wait for longer than this, the session
 * ends with `RATE_LIMIT`: the client keeps the batch, and sends it again.
 */
const MAX_DELAY_MS = 20_000
/** Bytes of one session that may be on their way to the store before its next batch is read. */
const MAX_IN_FLIGHT_BYTES = 4 * 1024 * 1024
/** ms. Transports do not tell when they have sent what waits. */
const LOOK_FOR_ROOM_EVERY_MS = 100

/** What is kept of an operation and of a batch beside their texts, until they are answered. */
const OBJECT_BYTES = 512

interface ArrivedBatch {
  readonly batch: ReceivedBatchMessage
  /** ms, monotonic */
  readonly receivedAt: number
  /**
   * What to do when something is refused: null: say so; else, because something before it is missing, try again
   * after so many ms each, and then leave it unanswered and end the session.
   */
  readonly retriesMs: readonly number[] | null
}

interface GuardedBatch extends ArrivedBatch {
  /** One per operation. */
  readonly guarded: readonly Guarded[]
  /** Requests of those operations that are to be stored. */
  readonly requests: readonly AppendRequest[]
  /** Something before it was missing when they were made. */
  readonly isOverGap: boolean
}

/**
 * What one session sends to be stored. Each batch is acknowledged once every operation of it is
 * durable, was stored before, or was refused by name; in the order of arrival.
 *
 * @see docs/protocol.md, "Pushing"
 */
export class Push {
  readonly #session: PushSession
  readonly #context: PushContext
  readonly #guards: OperationGuards
  readonly #bucket: TokenBucket
  /** Settles when the newest batch is answered: answers leave in order. */
  #answered: Promise<void> = Promise.resolve()
  /** The last batch of the initial exchange has come. */
  #hasDelta = false
  #inFlightBytes = 0
  readonly #maxInFlightBytes: number
  #delay: { timer: Timer; resolve: () => void } | null = null
  #isStopped = false
  /** null where nothing can be lost on its way. */
  readonly #gaps: GapWatch | null
  /** As `#gaps`. */
  readonly #retries: GapRetries | null
  /** End what is waited for, once nobody is there any more to answer. */
  readonly #waits = new Set<AbortController>()

  constructor(session: PushSession, context: PushContext) {
    this.#session = session
    this.#context = context
    this.#gaps = session.mayLoseMessages ? new GapWatch() : null
    this.#retries = session.mayLoseMessages
      ? new GapRetries(session, context.runtime, MAX_IN_FLIGHT_BYTES)
      : null
    this.#guards = new OperationGuards(session, context, this.#gaps)
    this.#bucket = new TokenBucket(context.limits.maxOpsPerMinute, context.runtime.monotonicNow())
    // The answers to what is on its way have to find room, too.
    this.#maxInFlightBytes = Math.min(MAX_IN_FLIGHT_BYTES, context.limits.maxBufferedBytes)
  }

  /** Resolves when the session may be given its next message, which is before the batch is stored. */
  async receive(batch: ReceivedBatchMessage): Promise<void> {
    const identity = this.#session.identity
    if (identity === null) return
    const receivedAt = this.#context.runtime.monotonicNow()
    if (this.#gaps?.look(batch, identity, this.#session)) {
      this.#session.log(LOG_EVENTS.batchMissing, { nodeId: identity.nodeId })
    }
    if (!identity.hasWatermark && this.#hasFutureClock(batch)) {
      this.#session.fail('INVALID_TIMESTAMP') // unstored and unanswered: the client stamps it again
      return
    }
    if (!this.#session.canSend()) await this.#waitForReader()
    const isLive = this.#hasDelta && !isOfDelta(batch)
    this.#hasDelta ||= batch.isFinal
    if (this.#isStopped || !(await this.#waitForRate(batch.operations.length, isLive))) return
    if (this.#inFlightBytes > this.#maxInFlightBytes) await this.#whileOpen(() => this.#answered)
    if (this.#isStopped) return

    this.#context.stats.operationsReceived += batch.operations.length
    const retriesMs = this.#gaps?.isOverGap(batch) ? RETRIES_OVER_GAP_MS : null
    await this.#judge({ batch, receivedAt, retriesMs }, identity)
  }

  async #judge(arrived: ArrivedBatch, identity: SessionIdentity): Promise<void> {
    const isOverGap = arrived.retriesMs !== null && this.#gaps?.isOverGap(arrived.batch) === true
    const guarded: Guarded[] = []
    for (const received of arrived.batch.operations) {
      const item = this.#guards.guard(received, identity)
      guarded.push(item instanceof Promise ? await item : item)
    }
    const requests: AppendRequest[] = []
    for (const item of guarded) if (item.kind === 'store') requests.push(item.request)
    const { ingest } = this.#context
    // Last, so that all of it is handed in at once: who was let in first is not to wait for the application.
    if (requests.length > 0 && ingest.isFull) {
      await this.#whileOpen((signal) => ingest.whenRoom(requests, signal))
    }
    if (this.#isStopped) return
    this.#store({ ...arrived, guarded, requests, isOverGap }, identity)
  }

  /**
   * Waits until the session ends at most, and not at all once it has: who waits holds a batch in memory.
   *
   * @param begin given what is aborted when the session ends
   */
  async #whileOpen(begin: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.#isStopped) return
    await new Promise<void>((resolve) => {
      const wait = new AbortController()
      this.#waits.add(wait)
      wait.signal.addEventListener('abort', () => resolve())
      void begin(wait.signal).then(() => {
        this.#waits.delete(wait)
        resolve()
      })
    })
  }

  /** Resolves when everything received so far is answered. */
  settled(): Promise<void> {
    return this.#answered
  }

  /** A batch that waits for its turn is not taken any more: the client sends it again. */
  endDelay(): void {
    if (this.#delay === null) return
    this.#isStopped = true
    this.#delay.timer.cancel()
    this.#delay.resolve()
  }

  stop(): void {
    this.#isStopped = true
    this.endDelay()
    this.#retries?.stop()
    for (const wait of this.#waits) wait.abort()
    this.#waits.clear()
  }

  // ── pace ───────────────────────────────────────────────────────────────────────────────────

  #hasFutureClock(batch: ReceivedBatchMessage): boolean {
    const latest = this.#context.runtime.now() + FUTURE_TOLERANCE_MS
    return batch.operations.some((received) => received.ok && received.operation.timestamp.wallTime > latest)
  }

  /**
   * Waits for a client to read what it is owed. Until then it is given no more answers to read: its next
   * batches wait with it, unread.
   */
  async #waitForReader(): Promise<void> {
    this.#session.watchProgress() // who goes on reading nothing is closed
    while (!this.#isStopped && !this.#session.canSend()) await this.#sleep(LOOK_FOR_ROOM_EVERY_MS)
  }

  /**
   * Slows a client down to its rate. A batch of the initial exchange waits as long as it takes; a
   * live batch that cannot be answered in time is left to the client, which keeps it.
   *
   * @param isLive the client waits for its answer
   * @returns false when the session has ended
   */
  async #waitForRate(count: number, isLive: boolean): Promise<boolean> {
    const { runtime } = this.#context
    for (;;) {
      const waitMs = this.#bucket.waitMs(count, runtime.monotonicNow())
      if (waitMs === 0) break
      if (isLive && waitMs > MAX_DELAY_MS) {
        this.#session.fail('RATE_LIMIT', `retry in ${Math.ceil(waitMs / 1000)} s`)
        return false
      }
      await this.#sleep(waitMs)
      if (this.#isStopped) return false
    }
    this.#bucket.take(count, runtime.monotonicNow())
    return true
  }

  /** Until the time is up, or the session takes nothing more. */
  async #sleep(waitMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#delay = { timer: this.#context.runtime.setTimer(waitMs, resolve), resolve }
    })
    this.#delay = null
  }

  // ── answers ────────────────────────────────────────────────────────────────────────────────

  #store(guardedBatch: GuardedBatch, identity: SessionIdentity): void {
    const { batch, guarded, requests, receivedAt } = guardedBatch
    const span = startSpan('kora.ingest', { 'kora.operations': guarded.length })
    const { runtime, metrics } = this.#context
    const bytes = bytesOf(batch) // what is refused, too: it stays as long as the rest
    const stored = requests.length === 0 ? Promise.resolve([]) : this.#context.ingest.submit(requests, this)
    this.#inFlightBytes += bytes
    const before = this.#answered
    this.#answered = Promise.all([stored, before])
      .then(([results]) => {
        if (guardedBatch.isOverGap && dependsOnMissing(guarded, results)) {
          this.#gaps?.missAgain(batch)
          this.#judgeAgain(guardedBatch, identity)
        } else {
          this.#gaps?.fill(batch)
          answerBatch(
            { batch, guarded, results },
            { session: this.#session, identity, context: this.#context },
          )
          metrics.acknowledged(runtime.monotonicNow() - receivedAt)
        }
        endSpan(span)
      })
      .catch((error: unknown) => {
        endSpan(span, error)
        // Whatever keeps the store from storing comes as its error; anything else was thrown by what answers.
        if (error instanceof StoreError) this.#session.fail('STORE_UNAVAILABLE', missingResolverOf(error))
        else this.#session.crash(error)
      })
      .finally(() => {
        this.#inFlightBytes -= bytes
      })
  }

  #judgeAgain({ batch, receivedAt, retriesMs }: GuardedBatch, identity: SessionIdentity): void {
    if (this.#isStopped) return
    this.#retries?.schedule(bytesOf(batch), retriesMs ?? [], (leftMs) => {
      this.#judge({ batch, receivedAt, retriesMs: leftMs }, identity).catch((error: unknown) => {
        this.#session.crash(error)
      })
    })
  }
}

/** Bytes of JSON, with something for each object. Of an operation that could not be read, what is kept is small. */
function bytesOf({ operations }: ReceivedBatchMessage): number {
  let bytes = OBJECT_BYTES
  for (const received of operations) bytes += OBJECT_BYTES + textLengthOf(received)
  return bytes
}

function textLengthOf(received: ReceivedOperation): number {
  if (received.ok) return received.wireJson.length
  const { operationId, collection, recordId, nodeId, refusal } = received
  return operationId.length + collection.length + recordId.length + nodeId.length + refusal.message.length
}

/**
 * Why another server may store what this one cannot. It ends the session, rather than refuse the operation: clients
 * give up what is refused, whether it may be sent again or not.
 */
function missingResolverOf(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof SchemaError && cause.code === 'RESOLVER_MISSING' ? cause.message : undefined
}

/** True where a verdict was reached on what is stored, and might be another one once more is. */
function dependsOnMissing(guarded: readonly Guarded[], results: readonly AppendResult[]): boolean {
  let next = 0
  return guarded.some((item) => {
    if (item.kind !== 'store') return false
    const status = results[next++]?.status
    return status === 'ignored' || (status === 'refused' && item.request.refusal === undefined)
  })
}
