import { systemRuntime } from '../core/system-runtime.ts'
import type { ServerStore } from '../store/store.ts'
import type { Kora } from '../sync/data-plane.ts'
import type { HttpRoute } from './app-routes.ts'
import type { EmbedderPolicy } from './embedder-policy.ts'
import type { KoraSyncServerConfig } from './kora-sync-server.ts'
import type { OperationalAuth } from './operations/access.ts'
import { ServerHost } from './server-host.ts'
import { resolveOptions } from './sync-settings.ts'
import type { TlsOptions } from './tls-files.ts'

export interface ProductionServerConfig {
  /** The store of the operations. The caller closes it, after `stop()`. */
  store: ServerStore
  /** One port for everything; 0 = any free port. Default: `PORT` of the environment, or 3001. */
  port?: number | undefined
  /** Default `'0.0.0.0'`. */
  host?: string | undefined
  /** Built front end, with single-page fallback to its `index.html`. Default `'./dist'`. */
  staticDir?: string | undefined
  /** WebSocket and HTTP sync. Default `'/kora-sync'`. */
  syncPath?: string | undefined
  syncOptions?: Omit<KoraSyncServerConfig, 'store' | 'port' | 'host' | 'path'> | undefined
  /** Sent with COOP `same-origin` on every response, for browsers' OPFS storage. Default `'credentialless'`. */
  crossOriginEmbedderPolicy?: EmbedderPolicy | undefined
  /** Routes of the application, mounted before static files. */
  httpRoutes?: readonly HttpRoute[] | undefined
  /**
   * Tokens of the endpoints below `/__kora/`. Without them, backups are closed, and the rest is open on loopback
   * only.
   */
  operationalAuth?: OperationalAuth | undefined
  /** Serves https and wss. The files are read again when they change. */
  tls?: TlsOptions | undefined
  /** Addresses and CIDR ranges of the proxies whose `X-Forwarded-For` is trusted. Default: none. */
  trustProxy?: readonly string[] | undefined
}

export interface ProductionServer {
  /**
   * Listens for clients and browsers.
   *
   * @returns the URL, such as `http://localhost:3001`; empty when `stop()` was called meanwhile
   * @throws KoraServerError `ALREADY_RUNNING`, `PORT_IN_USE`, `LISTEN_FAILED`
   * @throws ConfigError `TLS_INVALID`; `CONFIG_INVALID` when the path of a route is taken, or `staticDir` is a file
   */
  start(): Promise<string>
  /** Waits until accepted operations are stored and acknowledged, then frees the port. Idempotent. */
  stop(): Promise<void>
  /** The trusted data plane: reads and writes of the application itself. */
  readonly kora: Kora
  /** Hashes of the blobs and manifests that live records refer to, which blob storage must keep. */
  getLiveBlobRefs(): Promise<ReadonlySet<string>>
}

const DEFAULT_PORT = 3001

/**
 * One HTTP server for a whole app: sync, its front end, its routes, health and operations.
 *
 * @throws ConfigError `CONFIG_INVALID` when sync cannot be served at `syncPath`, a number is out of range, `store` is
 *   no store, `auth` no provider, `crossOriginEmbedderPolicy` no policy, or `logger` lacks a method
 * @example
 * const server = createProductionServer({ store, staticDir: './dist' })
 * console.log(await server.start())
 */
export function createProductionServer(config: ProductionServerConfig): ProductionServer {
  const { store, syncPath = '/kora-sync', syncOptions = {}, tls, trustProxy, httpRoutes } = config
  const { port, crossOriginEmbedderPolicy = 'credentialless' } = config
  const { logger, runtime, ...syncGiven } = syncOptions
  const sync = { ...syncGiven, store, path: syncPath }
  const host = new ServerHost({
    ...resolveOptions(
      { sync, logger, port, crossOriginEmbedderPolicy },
      { port: DEFAULT_PORT, env: process.env },
    ),
    sync,
    host: config.host ?? '0.0.0.0',
    runtime: runtime ?? systemRuntime(),
    operations: { auth: config.operationalAuth ?? {} },
    staticDir: config.staticDir ?? './dist',
    embedderPolicy: crossOriginEmbedderPolicy,
    ...(httpRoutes && { httpRoutes }),
    ...(tls && { tls }),
    ...(trustProxy && { trustProxy }),
  })
  return {
    kora: host.kora,
    async start() {
      await host.start()
      return host.url ?? ''
    },
    stop: () => host.stop(),
    getLiveBlobRefs: () => store.getLiveBlobRefs(),
  }
}
