import { packageVersion } from '../../core/package-files.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { ServerStore } from '../../store/store.ts'
import type { SyncHub } from '../../sync/hub.ts'
import type { Readiness } from '../readiness.ts'
import type { Overview, ServersAnswer } from './api-types.ts'
import type { LiveSeries } from './live-series.ts'
import type { RecentEvents } from './recent-events.ts'

export interface OverviewSource {
  /** Figures about the store, but none of its content. */
  readonly store: Pick<
    ServerStore,
    'getSchema' | 'getNodeId' | 'getOperationCount' | 'getStorageBytes' | 'listServers'
  >
  readonly runtime: Runtime
  readonly hub: () => SyncHub
  readonly readiness: Readiness
  readonly live: LiveSeries
  readonly recent: RecentEvents
  readonly schemaVersion: number
  /** ms */
  readonly uptimeMs: () => number
}

/** How long the size of the store is reused, because some databases measure it by walking over files. */
const BYTES_HOLD_MS = 10_000

/** Reads the figures of the overview. */
export class OverviewReader {
  readonly #source: OverviewSource
  #bytes: { readonly until: number; readonly value: Promise<number | null> } | null = null

  constructor(source: OverviewSource) {
    this.#source = source
  }

  async overview({ hasSamples }: { readonly hasSamples: boolean }): Promise<Overview> {
    const { store, hub, readiness, live, recent, schemaVersion, uptimeMs } = this.#source
    const problem = await readiness.problem()
    // A store that does not answer cannot tell how much it holds either.
    const isAsked = problem === null
    const { sessions, stats } = hub()
    const schema = store.getSchema()
    return {
      version: packageVersion(),
      nodeId: store.getNodeId(),
      nodeVersion: process.version,
      problem,
      uptimeMs: Math.round(uptimeMs()),
      memoryBytes: process.memoryUsage.rss(),
      schemaVersion,
      collections: schema === null ? null : Object.keys(schema.collections).length,
      sessions: sessions.size,
      peakSessions: stats.peakConnections,
      sessionsOpened: stats.connectionsTotal,
      operationsReceived: stats.operationsReceived,
      operationsDelivered: stats.operationsSent,
      operationsRefused: live.operationsRefused,
      operations: isAsked ? await store.getOperationCount().catch(() => null) : null,
      isOnDisk: store.getStorageBytes !== undefined,
      storeBytes: isAsked ? await this.#storeBytes() : null,
      warnings: recent.warningCount,
      samples: hasSamples ? live.samples : [],
    }
  }

  async servers(): Promise<ServersAnswer> {
    const { store, runtime, schemaVersion } = this.#source
    const own = { id: store.getNodeId(), isThis: true, schemaVersion, seenAt: runtime.now() }
    if (store.listServers === undefined) return { isShared: false, servers: [own] }
    const servers = await store.listServers()
    // This server runs even if it has not announced itself to the others yet.
    const isListed = servers.some(({ isThis }) => isThis)
    return { isShared: true, servers: isListed ? servers : [own, ...servers] }
  }

  #storeBytes(): Promise<number | null> {
    const { store, runtime } = this.#source
    const now = runtime.monotonicNow()
    if (this.#bytes === null || now >= this.#bytes.until) {
      const value = store.getStorageBytes?.().catch(() => null) ?? Promise.resolve(null)
      this.#bytes = { until: now + BYTES_HOLD_MS, value }
    }
    return this.#bytes.value
  }
}
