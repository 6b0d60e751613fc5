import { scopeFieldsOfAuth } from '../auth/create-auth-provider.ts'
import type { AuthProvider } from '../auth/provider.ts'
import type { ServerConfig } from '../config/server-config.ts'
import { ConfigError } from '../core/errors.ts'
import { LOG_EVENTS, type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { createKoraServer, type KoraSyncServer } from '../http/kora-sync-server.ts'
import { BlobStorage } from '../store/blobs/blob-storage.ts'
import type { SchemaProgress, ServerStore } from '../store/store.ts'
import { openAuthProvider } from './auth-provider.ts'
import { openStore } from './open-store.ts'
import type { ServedUrls } from './output/banner.ts'
import { findUnservedOptions } from './unserved-options.ts'

export interface DaemonOptions {
  readonly logger: Logger
  readonly runtime: Runtime
  readonly onSchemaProgress?: (progress: SchemaProgress) => void
}

/** A server that listens, with the store that it owns. */
export interface Daemon {
  readonly urls: ServedUrls
  /** Drains the server within the shutdown timeout, then closes the store. */
  stop(): Promise<void>
}

/**
 * Opens everything that the configuration asks for, in the order in which it is needed. What was
 * opened is closed again when a later step fails.
 *
 * @throws KoraServerError of the step that failed
 */
export async function openDaemon(config: ServerConfig, options: DaemonOptions): Promise<Daemon> {
  reportUnservedOptions(config, options.logger)
  const auth = await openAuthProvider(config.auth, options.logger)
  const store = await openStore(config)
  let blobs: BlobStorage | null = null
  try {
    await prepareStore(store, config, options)
    blobs = await openBlobStorage(store, config, options)
    const server = createServer({ store, auth, blobs }, config, options)
    await server.start()
    return {
      urls: urlsOf(server),
      async stop() {
        await stopWithin(server, config.shutdownTimeout, options)
        await blobs?.close()
        await store.close()
      },
    }
  } catch (error) {
    await blobs?.close()
    await store.close()
    throw error
  }
}

async function openBlobStorage(
  store: ServerStore,
  { blobs }: ServerConfig,
  { logger, runtime }: DaemonOptions,
): Promise<BlobStorage | null> {
  if (blobs === null) return null
  return BlobStorage.open({ directory: blobs.directory, index: store, runtime, logger })
}

function reportUnservedOptions(config: ServerConfig, logger: Logger): void {
  for (const { path, message, isFatal } of findUnservedOptions(config)) {
    if (isFatal) throw new ConfigError('CONFIG_INVALID', `${path}: ${message}`)
    logEvent(logger, LOG_EVENTS.optionUnserved, { option: path, detail: message })
  }
}

/** Tables and scope indexes are there before the first client is let in. */
async function prepareStore(
  store: ServerStore,
  { schema, auth }: ServerConfig,
  { onSchemaProgress }: DaemonOptions,
): Promise<void> {
  if (schema !== null) {
    await store.setSchema(schema.definition, onSchemaProgress ? { onProgress: onSchemaProgress } : {})
  }
  for (const [collection, fields] of Object.entries(scopeFieldsOfAuth(auth))) {
    for (const field of fields.length === 0 ? [null] : fields) {
      await store.trackScopeField(collection, field, { isGranted: true })
    }
  }
}

interface ServerParts {
  readonly store: ServerStore
  readonly auth: AuthProvider
  readonly blobs: BlobStorage | null
}

function createServer(
  { store, auth, blobs }: ServerParts,
  config: ServerConfig,
  { logger, runtime }: DaemonOptions,
): KoraSyncServer {
  const { limits } = config
  return createKoraServer({
    store,
    auth,
    logger,
    runtime,
    host: config.host,
    port: config.port,
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
    },
    ...(blobs !== null && {
      persistBlobChunk: blobs.persistBlobChunk,
      resolveBlobChunk: blobs.resolveBlobChunk,
    }),
    ...(config.http.allowedOrigins === null ? {} : { allowedOrigins: config.http.allowedOrigins }),
    stopSpreadMs: config.shutdownTimeout * SPREAD_SHARE,
  })
}

// The rest of the shutdown timeout is for the last connections to be drained and closed.
const SPREAD_SHARE = 0.6

function urlsOf(server: KoraSyncServer): ServedUrls {
  const sync = server.url ?? '' // it listens, so it has one
  return { sync, health: new URL('/health', sync.replace(/^ws/, 'http')).href }
}

/** Connections that do not drain in time are cut: their clients send again what was not acknowledged. */
async function stopWithin(
  server: KoraSyncServer,
  timeoutMs: number,
  { logger, runtime }: DaemonOptions,
): Promise<void> {
  const timer = runtime.setTimer(timeoutMs, () => {
    logEvent(logger, LOG_EVENTS.drainTimedOut, { timeoutMs, sessions: server.getConnectionCount() })
    server.abort()
  })
  await server.stop()
  timer.cancel()
}
