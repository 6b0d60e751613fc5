import { LOG_EVENTS, type Logger, logEvent } from '../core/logger.ts'
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
/** How long an answer holds: whoever asks more often gets the same, and the store is not asked again. */
const ANSWER_HOLDS_MS = 1000
/**
 * How long a commit that failed counts although the store says it is well: what it writes to find out
 * is small, and may find room on a disk that has none for operations. Not for ever, because commits
 * are what shows that it is over, and a server that is not ready gets none.
 */
const FAILED_COMMIT_COUNTS_MS = 5000
/** How long delivery may be behind the store. */
const MAX_DELIVERY_DELAY_MS = 10_000

/**
 * Whether the server does its work: the store answers and commits, delivery moves, and the server
 * is not on its way out. `GET /ready` and the metric `kora_ready` both ask here.
 */
export class Readiness {
  readonly #options: ReadinessOptions
  #answer: { readonly until: number; readonly problem: Promise<string | null> } | null = null
  #failedSince: number | null = null
  #behind: { readonly target: number; readonly since: number } | null = null

  constructor(options: ReadinessOptions) {
    this.#options = options
  }

  /** @returns why the server is not ready, for people; null when it is */
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
    let stopWaiting = (): void => {}
    const timeout = new Promise<string>((resolve) => {
      const text = `The store has not answered for ${STORE_TIMEOUT_MS / 1000} s.`
      const timer = runtime.setTimer(STORE_TIMEOUT_MS, () => resolve(text))
      stopWaiting = () => timer.cancel()
    })
    const problem = await Promise.race([this.#storeProblem(), timeout])
    stopWaiting()
    return problem
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

  /** The cause may name hosts and files: it goes to the log, not to whoever asks; and once. */
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

  /** Delivery is behind when what the store held some time ago has still not been read. */
  #deliveryProblem(storeEnd: number): string | null {
    const { runtime } = this.#options
    const { feed } = this.#options.hub()
    const now = runtime.monotonicNow()
    if (this.#behind !== null && feed.head >= this.#behind.target) this.#behind = null
    if (feed.head >= storeEnd) return null
    this.#behind ??= { target: storeEnd, since: now }
    void feed.refill() // whatever was missed is looked for again
    if (now - this.#behind.since < MAX_DELIVERY_DELAY_MS) return null
    return `Delivery is at ${feed.head} and the store at ${storeEnd}.`
  }
}
