import { SchemaError, StoreError } from '../../core/errors.ts'
import { FUTURE_TOLERANCE_MS } from '../../core/future-clock.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import type { Timer } from '../../core/runtime.ts'
import { endSpan, startSpan } from '../../core/tracing.ts'
import type { ReceivedBatchMessage, ReceivedOperation } from '../../protocol/messages.ts'
import type { AppendRequest, AppendResult } from '../../store/store.ts'
import type { SessionIdentity } from '../session-identity.ts'
import { TokenBucket } from '../token-bucket.ts'
import { answerBatch } from './answer-batch.ts'
import { GapRetries, RETRIES_OVER_GAP_MS } from './gap-retries.ts'
import { GapWatch, isOfDelta } from './gap-watch.ts'
import { type Guarded, OperationGuards } from './operation-guards.ts'
import type { PushContext, PushSession } from './push-session.ts'

/**
 * The longest wait for a batch's turn. Clients give up on an unanswered live batch after 30 s. Where one would have
 * to wait longer than this, the session ends with `RATE_LIMIT`: the client keeps the batch, and sends it again.
 */
const MAX_DELAY_MS = 20_000
/** Bytes of one session that may be on their way to the store before its next batch is read. */
const MAX_IN_FLIGHT_BYTES = 4 * 1024 * 1024
/** In ms. Polled because transports do not report when they have sent what waits. */
const LOOK_FOR_ROOM_EVERY_MS = 100

/** Memory of an operation or a batch beside its text, until it is answered. */
const OBJECT_BYTES = 512

interface ArrivedBatch {
  readonly batch: ReceivedBatchMessage
  /** ms, monotonic */
  readonly receivedAt: number
  /**
   * What happens on a refusal. null: the client is told. Otherwise something before the batch is missing: it is
   * tried again after each of these waits (ms), then left unanswered and the session ended.
   */
  readonly retriesMs: readonly number[] | null
}

interface GuardedBatch extends ArrivedBatch {
  /** One per operation. */
  readonly guarded: readonly Guarded[]
  /** Requests of those operations that are to be stored. */
  readonly requests: readonly AppendRequest[]
  /** True when something before the batch was missing as its requests were made. */
  readonly isOverGap: boolean
}

/**
 * Handles the operations that one session sends. Each batch is acknowledged, in order of arrival, once every
 * operation of it is durable, was stored before, or was refused by name.
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
  /** null where the transport cannot lose messages. */
  readonly #gaps: GapWatch | null
  /** null where `#gaps` is. */
  readonly #retries: GapRetries | null
  /** Aborted to end the waits of a session that has nobody left to answer. */
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
    // Bounded by the send buffer, too, because the answers to batches in flight have to find room there.
    this.#maxInFlightBytes = Math.min(MAX_IN_FLIGHT_BYTES, context.limits.maxBufferedBytes)
  }

  /** Resolves when the session may receive its next message, which is before the batch is stored. */
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
    // Last, so that the whole batch is submitted at once: a caller that was let in must not then wait for the
    // application.
    if (requests.length > 0 && ingest.isFull) {
      await this.#whileOpen((signal) => ingest.whenRoom(requests, signal))
    }
    if (this.#isStopped) return
    this.#store({ ...arrived, guarded, requests, isOverGap }, identity)
  }

  /**
   * Waits no longer than the session lasts, and not at all once it has ended: a waiting batch holds memory.
   *
   * @param begin called with a signal that is aborted when the session ends
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

  /** Gives up a batch that waits for its turn: the client sends it again. */
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
   * Waits until the client reads what it has been sent. Until then it gets no more answers, and its next batches
   * wait unread.
   */
  async #waitForReader(): Promise<void> {
    this.#session.watchProgress() // a client that reads nothing at all is cut off
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

  /** Sleeps until the time is up, or the session takes no more batches. */
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
    const bytes = bytesOf(batch) // refused operations, too: they stay in memory as long as the others
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
        // The store reports its own failures as StoreError; any other error was thrown while answering.
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

/** Bytes of JSON, plus something for each object. Little is kept of an operation that could not be read. */
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
 * The reason why another server may be able to store what this one cannot. The session ends rather than refusing
 * the operation, because clients give up whatever is refused, retriable or not.
 */
function missingResolverOf(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof SchemaError && cause.code === 'RESOLVER_MISSING' ? cause.message : undefined
}

/** True where a verdict depends on what is stored, and may change once more of it is. */
function dependsOnMissing(guarded: readonly Guarded[], results: readonly AppendResult[]): boolean {
  let next = 0
  return guarded.some((item) => {
    if (item.kind !== 'store') return false
    const status = results[next++]?.status
    return status === 'ignored' || (status === 'refused' && item.request.refusal === undefined)
  })
}
