import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { lazyRequire } from '../core/lazy-require.ts'
import { METRICS, type MetricDefinition, type MetricId } from '../core/metrics.ts'
import { packageVersion } from '../core/package-files.ts'
import { REFUSAL_CODES } from '../core/refusal.ts'
import type { ConnectionErrorCode } from '../protocol/connection-errors.ts'
import type { CompactionStats } from '../store/compaction/compaction-schedule.ts'
import type { OperatorAccess } from '../sync/authorization.ts'
import type { SyncHub } from '../sync/hub.ts'
import type { SessionState } from '../sync/session-state.ts'
import type { OperationOutcome, SyncMetrics } from '../sync/sync-metrics.ts'

const client = lazyRequire<typeof import('prom-client')>('prom-client')

/** The values that are read at each scrape. */
export interface MetricsSource {
  readonly hub: SyncHub
  readonly store: OperatorAccess<'metrics'>['store']
  isReady(): Promise<boolean>
  /** null: the server does not compact by itself */
  readonly compaction: CompactionStats | null
}

const OPEN_STATES: readonly SessionState[] = ['connected', 'authenticating', 'syncing', 'streaming']
const OUTCOMES: readonly OperationOutcome[] = ['applied', 'duplicate', 'refused', 'ignored', 'failed']
const EVENT_LOOP_RESOLUTION_MS = 20

/** The metrics of one server. Between scrapes they are only counted. */
export class PrometheusMetrics implements SyncMetrics {
  readonly #registry: Registry = new (client().Registry)()
  readonly #operations = this.#counter('operations')
  readonly #refused = this.#counter('operationsRefused')
  readonly #sessionsFailed = this.#counter('sessionsFailed')
  readonly #commitDuration = this.#histogram('commitDuration')
  readonly #groupOperations = this.#histogram('groupOperations')
  readonly #acknowledgment = this.#histogram('acknowledgmentDuration')
  readonly #gauges = new Map<MetricId, Gauge>()
  readonly #totals = new Map<MetricId, Counter>()
  #eventLoop: IntervalHistogram | null = null
  #hasDefaults = false

  constructor() {
    for (const outcome of OUTCOMES) this.#operations.inc({ outcome }, 0) // a rate needs the 0 before the first operation
    for (const id of GAUGES) this.#gauges.set(id, this.#gauge(id))
    for (const id of TOTALS) this.#totals.set(id, this.#counter(id))
    this.#gauges.get('info')?.set({ version: packageVersion() }, 1)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  // ── SyncMetrics ────────────────────────────────────────────────────────────────────────────

  operations(outcome: OperationOutcome, count: number): void {
    this.#operations.inc({ outcome }, count)
  }

  committed(operations: number, durationMs: number): void {
    this.#commitDuration.observe(durationMs / 1000)
    this.#groupOperations.observe(operations)
  }

  acknowledged(durationMs: number): void {
    this.#acknowledgment.observe(durationMs / 1000)
  }

  /** Counts all codes of the application as one: the values of a label must be bounded. */
  refused(code: string): void {
    this.#refused.inc({ code: Object.hasOwn(REFUSAL_CODES, code) ? code : 'application' })
  }

  sessionFailed(code: ConnectionErrorCode): void {
    this.#sessionsFailed.inc({ code })
  }

  // ── scraping ───────────────────────────────────────────────────────────────────────────────

  /** All metrics in the text format of Prometheus. */
  async scrape(source: MetricsSource): Promise<string> {
    this.#readEventLoop()
    this.#readHub(source.hub)
    this.#readCompaction(source.compaction)
    await this.#readStore(source)
    return this.#registry.metrics()
  }

  stop(): void {
    this.#eventLoop?.disable()
    this.#eventLoop = null
  }

  #readHub(hub: SyncHub): void {
    const { stats, feed, views, ingest } = hub
    this.#setTotal('operationsDelivered', stats.operationsSent)
    this.#setTotal('operationIdMismatches', stats.idMismatches)
    this.#setTotal('sessionsOpened', stats.connectionsTotal)
    this.#set('deliverySequence', feed.head)
    this.#set('feedBytes', feed.bytes)
    this.#set('ingestQueuedBytes', ingest.queuedBytes)
    this.#set('views', views.size)
    this.#readSessions(hub)
  }

  #readSessions({ sessions, relays: { presence } }: SyncHub): void {
    const states = new Map<SessionState, number>(OPEN_STATES.map((state) => [state, 0]))
    let bufferedBytes = 0
    let lagEntries = 0
    let waitMs = 0
    let presenceStates = 0
    for (const session of sessions.values()) {
      states.set(session.state, (states.get(session.state) ?? 0) + 1)
      bufferedBytes += session.bufferedBytes
      lagEntries = Math.max(lagEntries, session.deliveryLag?.entries ?? 0)
      waitMs = Math.max(waitMs, session.deliveryLag?.unacknowledgedMs ?? 0)
      if (presence.shows(session)) presenceStates++
    }
    for (const state of OPEN_STATES) this.#gauges.get('sessions')?.set({ state }, states.get(state) ?? 0)
    this.#set('bufferedBytes', bufferedBytes)
    this.#set('deliveryLag', lagEntries)
    this.#set('deliveryWait', waitMs / 1000)
    this.#set('presence', presenceStates)
  }

  #readCompaction(stats: CompactionStats | null): void {
    this.#setTotal('compactionDropped', stats?.operationsDropped ?? 0)
    this.#set('compactionDuration', (stats?.lastDurationMs ?? 0) / 1000)
    this.#set('compactionLastSuccess', (stats?.lastSuccessAt ?? 0) / 1000)
  }

  /** Leaves out the store's values when it does not answer, so that the others are still reported. */
  async #readStore({ store, isReady }: MetricsSource): Promise<void> {
    const isStoreReady = await isReady()
    const [operations, bytes] = isStoreReady
      ? await Promise.all([
          store.getOperationCount().catch(() => null),
          store.getStorageBytes?.().catch(() => null) ?? null,
        ])
      : [null, null]
    this.#set('ready', isStoreReady ? 1 : 0)
    this.#setKnown('logOperations', operations)
    this.#setKnown('storeBytes', bytes)
  }

  /** Starts at the first scrape, so that a server that is never scraped pays nothing. */
  #readEventLoop(): void {
    if (this.#eventLoop === null) {
      this.#eventLoop = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS })
      this.#eventLoop.enable()
      this.#addDefaults()
      return
    }
    const gauge = this.#gauges.get('eventLoopDelay')
    for (const quantile of ['0.5', '0.99', '1']) {
      const nanoseconds = this.#eventLoop.percentile(Number(quantile) * 100)
      const delayMs = Math.max(0, nanoseconds / 1e6 - EVENT_LOOP_RESOLUTION_MS) // the timer's own period is no delay
      gauge?.set({ quantile }, delayMs / 1000)
    }
    this.#eventLoop.reset()
  }

  /** Adds the metrics of the process, once only: a server that is stopped and started again still has them. */
  #addDefaults(): void {
    if (this.#hasDefaults) return
    this.#hasDefaults = true
    client().collectDefaultMetrics({ register: this.#registry })
  }

  #set(id: MetricId, value: number): void {
    this.#gauges.get(id)?.set(value)
  }

  /** Sets a gauge; null removes its value. `reset()` would set it to 0. */
  #setKnown(id: MetricId, value: number | null): void {
    if (value === null) this.#gauges.get(id)?.remove()
    else this.#set(id, value)
  }

  /** Sets a total that is counted elsewhere. */
  #setTotal(id: MetricId, value: number): void {
    const counter = this.#totals.get(id)
    counter?.reset()
    counter?.inc(value)
  }

  #counter(id: MetricId): Counter {
    return new (client().Counter)(this.#settings(id))
  }

  #gauge(id: MetricId): Gauge {
    return new (client().Gauge)(this.#settings(id))
  }

  #histogram(id: MetricId): Histogram {
    const { buckets = [] }: MetricDefinition = METRICS[id]
    return new (client().Histogram)({ ...this.#settings(id), buckets: [...buckets] })
  }

  #settings(id: MetricId) {
    const { name, help, labels = {} }: MetricDefinition = METRICS[id]
    return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] }
  }
}

/** Totals that are already counted elsewhere. */
const TOTALS: readonly MetricId[] = [
  'operationsDelivered',
  'operationIdMismatches',
  'sessionsOpened',
  'compactionDropped',
]

const GAUGES = (Object.keys(METRICS) as MetricId[]).filter((id) => METRICS[id].type === 'gauge')
