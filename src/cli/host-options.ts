import type { AuthProvider } from '../auth/provider.ts'
import type { AdminConfig, ServerConfig } from '../config/server-config.ts'
import type { Logger } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import type { RecentEvents } from '../http/dashboard/recent-events.ts'
import type { OperationsConfig, ServerHostOptions } from '../http/server-host.ts'
import type { BlobStorage } from '../store/blobs/blob-storage.ts'
import type { CompactionSchedule } from '../store/compaction/compaction-schedule.ts'
import type { ServerStore } from '../store/store.ts'

/** The parts that are open when the server is assembled. */
export interface ServerParts {
  readonly store: ServerStore
  readonly auth: AuthProvider
  readonly blobs: BlobStorage | null
  readonly logger: Logger
  /** Listens to the logger for the dashboard. */
  readonly recent: RecentEvents
  readonly runtime: Runtime
  /** null: the server does not compact by itself */
  readonly compaction: CompactionSchedule | null
}

/** The options that set each of the daemon's ports. */
export const PUBLIC_PORT_OPTION = '--port'
export const ADMIN_PORT_OPTION = 'admin.port'

/** Converts the daemon's configuration into the options of its server. */
export function hostOptions(config: ServerConfig, parts: ServerParts): ServerHostOptions {
  const { http, tls } = config
  const operations = operationsOf(config)
  return {
    sync: syncOptions(config, parts),
    host: config.host,
    port: config.port,
    portOption: PUBLIC_PORT_OPTION,
    logger: parts.logger,
    recent: parts.recent,
    runtime: parts.runtime,
    trustProxy: http.trustProxy,
    servesHealth: http.health,
    ...(tls && { tls }),
    ...(operations && { operations }),
    ...(parts.compaction && { compaction: parts.compaction }),
    ...(http.staticDir !== null && { staticDir: http.staticDir, embedderPolicy: 'credentialless' }),
  }
}

function syncOptions(config: ServerConfig, { store, auth, blobs }: ServerParts): ServerHostOptions['sync'] {
  const { limits, http } = config
  return {
    store,
    auth,
    path: config.path,
    batchSize: config.batchSize,
    maxConnections: config.maxConnections,
    schemaVersion: config.schemaVersion,
    supportedSchemaVersions: config.supportedSchemaVersions,
    maxOperationBytes: limits.maxOperationBytes,
    maxOpsPerMinute: limits.maxOpsPerMinute,
    limits: {
      maxMessageBytes: limits.maxMessageBytes,
      maxConnectionsPerUser: limits.maxConnectionsPerUser,
      maxConnectionsPerAddress: limits.maxConnectionsPerAddress,
      handshakeTimeoutMs: limits.handshakeTimeout,
      idleTimeoutMs: limits.idleTimeout,
      maxBufferedBytes: limits.maxBufferedBytes,
      maxFeedBytes: limits.maxFeedBytes,
      maxQueuedBytes: limits.maxQueuedBytes,
    },
    ...(blobs !== null && {
      persistBlobChunk: blobs.persistBlobChunk,
      resolveBlobChunk: blobs.resolveBlobChunk,
    }),
    ...(http.allowedOrigins !== null && { allowedOrigins: http.allowedOrigins }),
    stopSpreadMs: Math.round(config.shutdownTimeout * SPREAD_SHARE),
    stopTimeoutMs: Math.round(config.shutdownTimeout),
  }
}

// The rest of the shutdown timeout is for the last connections to be drained and closed: two of 10 s.
const SPREAD_SHARE = 0.8

/**
 * The operations endpoints, if any. `http: false` takes them off the public listener, while a listener of their own
 * keeps all of them. Each switch removes one of them on any listener.
 */
function operationsOf({ http, admin }: ServerConfig): OperationsConfig | null {
  if (admin.listener === null && !http.operations) return null
  return {
    auth: tokensOf(admin),
    servesMetrics: http.metrics || !http.operations,
    servesDashboard: http.dashboard || !http.operations,
    ...(admin.listener && { listener: { ...admin.listener, portOption: ADMIN_PORT_OPTION } }),
  }
}

function tokensOf({ adminToken, metricsToken, backupToken }: AdminConfig): OperationsConfig['auth'] {
  return {
    ...(adminToken !== null && { adminToken }),
    ...(metricsToken !== null && { metricsToken }),
    ...(backupToken !== null && { backupToken }),
  }
}
