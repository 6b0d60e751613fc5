import type { Runtime, Timer } from '../../core/runtime.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { SyncHub } from '../../sync/hub.ts'
import { noMetrics, type OperationOutcome, type SyncMetrics } from '../../sync/sync-metrics.ts'
import type { LiveSample } from './api-types.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import { Ring } from './ring.ts'

const INTERVAL_MS = 1000
/** Ten minutes: what the page shows when it is opened. */
const MAX_SAMPLES = 600

/** Totals whose differences are the rates of a sample. */
interface Totals {
  readonly at: number
  readonly received: number
  readonly delivered: number
  readonly refused: number
}

/**
 * The last minutes of one server, as one sample per second. It sits between the sync layer and the scraped metrics,
 * and passes everything on to the latter.
 */
export class LiveSeries implements SyncMetrics {
  readonly #hub: () => SyncHub
  readonly #runtime: Runtime
  readonly #next: SyncMetrics
  readonly #samples = new Ring<LiveSample>(MAX_SAMPLES)
  readonly #acknowledgments = new LatencyHistogram()
  readonly #commits = new LatencyHistogram()
  readonly #listeners = new Set<(sample: LiveSample) => void>()
  #refused = 0
  #before: Totals | null = null
  #timer: Timer | null = null

  constructor(hub: () => SyncHub, runtime: Runtime, next: SyncMetrics = noMetrics) {
    this.#hub = hub
    this.#runtime = runtime
    this.#next = next
  }

  /** Oldest first. */
  get samples(): readonly LiveSample[] {
    return this.#samples.oldestFirst()
  }

  /** Operations of clients that were refused since the start. */
  get operationsRefused(): number {
    return this.#refused
  }

  /** Calls back with each new sample. @returns a function that ends it */
  observe(listener: (sample: LiveSample) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  start(): void {
    this.#before = this.#totals()
    this.#schedule()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  // ── SyncMetrics ────────────────────────────────────────────────────────────────────────────

  operations(outcome: OperationOutcome, count: number): void {
    this.#next.operations(outcome, count)
  }

  committed(operations: number, durationMs: number): void {
    this.#commits.add(durationMs)
    this.#next.committed(operations, durationMs)
  }

  acknowledged(durationMs: number): void {
    this.#acknowledgments.add(durationMs)
    this.#next.acknowledged(durationMs)
  }

  refused(code: string): void {
    this.#refused++
    this.#next.refused(code)
  }

  sessionFailed(code: ConnectionErrorCode): void {
    this.#next.sessionFailed(code)
  }

  // ── sampling ───────────────────────────────────────────────────────────────────────────────

  #schedule(): void {
    this.#timer = this.#runtime.setTimer(INTERVAL_MS, () => {
      this.#schedule()
      this.#sample()
    })
  }

  #sample(): void {
    const { sessions, ingest, feed } = this.#hub()
    const before = this.#before
    const now = this.#totals()
    this.#before = now
    const seconds = before === null ? 0 : (now.at - before.at) / 1000
    const rate = (total: (totals: Totals) => number): number =>
      before === null || seconds <= 0 ? 0 : Math.max(0, (total(now) - total(before)) / seconds)
    const sample: LiveSample = {
      at: this.#runtime.now(),
      sessions: sessions.size,
      receivedPerSecond: rate(({ received }) => received),
      deliveredPerSecond: rate(({ delivered }) => delivered),
      refusedPerSecond: rate(({ refused }) => refused),
      acknowledgeP50Ms: this.#acknowledgments.quantile(0.5),
      acknowledgeP99Ms: this.#acknowledgments.quantile(0.99),
      commitP99Ms: this.#commits.quantile(0.99),
      queuedBytes: ingest.queuedBytes,
      deliverySequence: feed.head,
    }
    this.#acknowledgments.clear()
    this.#commits.clear()
    this.#samples.add(sample)
    for (const listener of this.#listeners) listener(sample)
  }

  #totals(): Totals {
    const { stats } = this.#hub()
    return {
      at: this.#runtime.monotonicNow(),
      received: stats.operationsReceived,
      delivered: stats.operationsSent,
      refused: this.#refused,
    }
  }
}
