import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import { settlesWithin } from '../core/pause.ts'
import type { Runtime } from '../core/runtime.ts'
import type { ServerStore } from '../store/store.ts'
import type { SyncHub } from '../sync/hub.ts'

export interface ReadinessOptions {
  readonly store: Pick<ServerStore, 'checkHealth' | 'getMaxDeliverySequence'>
  readonly runtime: Runtime
  readonly hub: () => SyncHub
  readonly logger: Logger
}

/** How long the store may take to answer before the server counts as not ready. */
const STORE_TIMEOUT_MS = 5000
/** How long an answer is reused, so that frequent checks do not reach the store. */
const ANSWER_HOLDS_MS = 1000
/**
 * How long a failed commit counts although the store says that it is well: its own check writes little, which may
 * fit on a disk that has no room for operations. Not forever, because only a commit shows that the failure is over,
 * and a server that is not ready gets none.
 */
const FAILED_COMMIT_COUNTS_MS = 5000
/** How far delivery may lag behind the store. */
const MAX_DELIVERY_DELAY_MS = 10_000

/**
 * Tells whether the server does its work: the store answers and commits, delivery makes progress, and the server is
 * not shutting down. `GET /ready` and the metric `kora_ready` both use it.
 */
export class Readiness {
  readonly #options: ReadinessOptions
  #answer: { readonly until: number; readonly problem: Promise<string | null> } | null = null
  #failedSince: number | null = null
  #behind: { readonly target: number; readonly since: number } | null = null

  constructor(options: ReadinessOptions) {
    this.#options = options
  }

  /** @returns why the server is not ready, as readable text; null when it is */
  problem(): Promise<string | null> {
    if (this.#options.hub().isStopping) return Promise.resolve('The server is shutting down.')
    const now = this.#options.runtime.monotonicNow()
    if (this.#answer === null || now >= this.#answer.until) {
      this.#answer = { until: now + ANSWER_HOLDS_MS, problem: this.#look() }
    }
    return this.#answer.problem
  }

  async #look(): Promise<string | null> {
    const { runtime } = this.#options
    const problem = this.#storeProblem()
    if (await settlesWithin(problem, { runtime, timeoutMs: STORE_TIMEOUT_MS })) return problem
    return `The store has not answered for ${STORE_TIMEOUT_MS / 1000} s.`
  }

  async #storeProblem(): Promise<string | null> {
    const { store } = this.#options
    try {
      await store.checkHealth()
      this.#assertCommits()
      this.#noteRecovery()
      return this.#deliveryProblem(await store.getMaxDeliverySequence())
    } catch (error) {
      this.#noteFailure(error)
      return 'The store does not answer or cannot commit.'
    }
  }

  #assertCommits(): void {
    const failure = this.#options.hub().ingest.lastFailure
    if (failure === null) return
    if (this.#options.runtime.monotonicNow() - failure.at < FAILED_COMMIT_COUNTS_MS) throw failure.error
  }

  /** Logs the cause, once, instead of answering with it, because it may name hosts and files. */
  #noteFailure(error: unknown): void {
    if (this.#failedSince !== null) return
    this.#failedSince = this.#options.runtime.monotonicNow()
    logEvent(this.#options.logger, LOG_EVENTS.storeUnavailable, { err: error })
  }

  #noteRecovery(): void {
    if (this.#failedSince === null) return
    const downMs = Math.round(this.#options.runtime.monotonicNow() - this.#failedSince)
    this.#failedSince = null
    logEvent(this.#options.logger, LOG_EVENTS.storeRecovered, { downMs })
  }

  /** Delivery lags when it has still not read what the store held some time ago. */
  #deliveryProblem(storeEnd: number): string | null {
    const { runtime } = this.#options
    const { feed } = this.#options.hub()
    const now = runtime.monotonicNow()
    if (this.#behind !== null && feed.head >= this.#behind.target) this.#behind = null
    if (feed.head >= storeEnd) return null
    this.#behind ??= { target: storeEnd, since: now }
    void feed.refill() // look again for anything that was missed
    if (now - this.#behind.since < MAX_DELIVERY_DELAY_MS) return null
    return `Delivery is at ${feed.head} and the store at ${storeEnd}.`
  }
}
