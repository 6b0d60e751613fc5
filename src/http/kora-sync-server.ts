import type { Logger } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { systemRuntime } from '../core/system-runtime.ts'
import type { SyncHub } from '../sync/hub.ts'
import type { ServerTransport } from '../sync/transport.ts'
import type { HttpSyncRequest, HttpSyncResponse } from '../transport/http-sync.ts'
import { ServerHost } from './server-host.ts'
import type { ServerStatus } from './server-status.ts'
import type { SyncServiceConfig } from './sync-service.ts'
import { resolveOptions } from './sync-settings.ts'

export interface KoraSyncServerConfig extends SyncServiceConfig {
  /** Default 4567; 0 = any free port. */
  port?: number | undefined
  /** Default `'0.0.0.0'`. */
  host?: string | undefined
  /** Default: pino, to stdout. */
  logger?: Logger | undefined
  /** Time, timers and randomness. Default: the system's. */
  runtime?: Runtime | undefined
}

const DEFAULT_PORT = 4567

/**
 * The sync server: clients connect to it over WebSocket or HTTP polling, and each change reaches all other clients
 * that may see it. It also answers `GET /health` and `GET /ready`.
 *
 * @example
 * const server = createKoraServer({ store: createSqliteServerStore({ filename: './app.db' }) })
 * await server.start()
 */
export class KoraSyncServer {
  readonly #host: ServerHost

  constructor({ port, host = '0.0.0.0', logger, runtime, ...sync }: KoraSyncServerConfig) {
    this.#host = new ServerHost({
      ...resolveOptions({ sync, logger, port }, { port: DEFAULT_PORT }),
      sync,
      host,
      runtime: runtime ?? systemRuntime(),
    })
  }

  /** The sync hub, which is not part of the public API. @internal */
  get hub(): SyncHub {
    return this.#host.service.hub
  }

  /**
   * Listens for clients.
   *
   * @throws KoraServerError `ALREADY_RUNNING`, `PORT_IN_USE`, `LISTEN_FAILED`
   */
  start(): Promise<void> {
    return this.#host.start()
  }

  /**
   * Ends gracefully: refuses new connections, lets accepted batches be stored and acknowledged,
   * closes the sessions, frees the port. Idempotent; the server may be started again afterwards.
   */
  stop(): Promise<void> {
    return this.#host.stop()
  }

  /**
   * Closes every connection now, and accepts no more; clients send again what was not acknowledged. Call `stop()`
   * to end the rest; only then may the server be started again.
   */
  abort(): void {
    this.#host.abort()
  }

  /** Attaches a connection that the application accepted by itself. @returns the session's id */
  handleConnection(transport: ServerTransport): string {
    return this.hub.connect(transport)
  }

  /** Serves one request of the HTTP form of the sync protocol, for applications with a server of their own. */
  handleHttpRequest(request: HttpSyncRequest): Promise<HttpSyncResponse> {
    return this.#host.service.handleHttpRequest(request)
  }

  getStatus(): Promise<ServerStatus> {
    return this.#host.getStatus()
  }

  /** Open sessions. */
  getConnectionCount(): number {
    return this.hub.sessions.size
  }

  /** `ws://host:port/path`, or null while not listening. */
  get url(): string | null {
    return this.#host.syncUrl
  }
}

/**
 * Creates a sync server; `start()` makes it listen.
 *
 * @throws ConfigError `CONFIG_INVALID` when sync cannot be served at `path`, a number is out of range, `store` or
 *   `auth` is of another type, or `logger` lacks a method
 */
export function createKoraServer(config: KoraSyncServerConfig): KoraSyncServer {
  return new KoraSyncServer(config)
}
