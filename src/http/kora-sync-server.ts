import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { pino } from 'pino'
import { NoAuthProvider } from '../auth/no-auth-provider.ts'
import type { AuthProvider } from '../auth/provider.ts'
import { KoraServerError } from '../core/errors.ts'
import { LOG_EVENTS, type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { systemRuntime } from '../core/system-runtime.ts'
import type { ServerStore } from '../store/store.ts'
import { HANDSHAKE_FRAME_BYTES, SyncHub } from '../sync/hub.ts'
import { DEFAULT_SYNC_LIMITS, type SyncLimits, type ValidateOperation } from '../sync/options.ts'
import type { ServerTransport } from '../sync/transport.ts'
import { HttpPolling, type HttpSyncRequest, type HttpSyncResponse } from '../transport/http-polling.ts'
import { refuseUpgrade, WebSocketEndpoint } from '../transport/websocket.ts'
import { answerHealth, answerJson, answerReady, type HealthOptions } from './health.ts'
import { listen } from './listen.ts'
import { packageVersion } from './package-version.ts'
import { answerPolling } from './polling-route.ts'

export interface KoraSyncServerConfig {
  /** Where operations live. The caller closes it, after `stop()`. */
  store: ServerStore
  /** Default 4567; 0 = any free port. */
  port?: number
  /** Default `'0.0.0.0'`. */
  host?: string
  /** Path of the sync endpoint. Default `'/'`. */
  path?: string
  /** Default `NoAuthProvider`: everybody may see and write everything. */
  auth?: AuthProvider
  /** Operations per batch sent. Default 100. */
  batchSize?: number
  /** Default 0: unlimited. */
  maxConnections?: number
  /** Schema version of the app. Default 1. */
  schemaVersion?: number
  /** Client schema versions that are let in, inclusive. Default: just `schemaVersion`. */
  supportedSchemaVersions?: { min: number; max: number }
  /** Default 262144. */
  maxOperationBytes?: number
  /** Sustained rate per connection, with a burst of the same size; 0 = unlimited. Default 6000. */
  maxOpsPerMinute?: number
  /** The application's own check of each operation. */
  validateOperation?: ValidateOperation
  /** Stores a chunk of a blob by its SHA-256. Together with `resolveBlobChunk`. */
  persistBlobChunk?: (hash: string, bytes: Uint8Array) => Promise<void>
  resolveBlobChunk?: (hash: string) => Promise<Uint8Array | null>
  /** Default: pino, to stdout. */
  logger?: Logger

  /** Further bounds. Default `DEFAULT_SYNC_LIMITS`. */
  limits?: Partial<Omit<SyncLimits, 'maxConnections' | 'maxOperationBytes' | 'maxOpsPerMinute'>>
  /** Exact origins of browsers that may connect. Default: any. */
  allowedOrigins?: readonly string[]
  /** The client's address where a proxy stands in front. Default: that of the socket. */
  addressOf?: (request: IncomingMessage) => string
  /** ms over which `stop()` closes connections, so that clients do not all return at once. Default 0. */
  stopSpreadMs?: number
  /** Time, timers and randomness. Default: the system's. */
  runtime?: Runtime
}

export interface ServerStatus {
  readonly running: boolean
  readonly connectedClients: number
  /** null while not listening */
  readonly port: number | null
  readonly totalOperations: number
  /** ms since `start()`; 0 while not running */
  readonly uptime: number
  /** Release of this package. */
  readonly version: string
  readonly schemaVersion: number
  readonly connectedNodeIds: readonly string[]
  readonly peakConnections: number
  readonly connectionsTotal: number
  readonly operationsReceived: number
  readonly operationsSent: number
  readonly errorCount: number
}

const MAX_HEADERS_COUNT = 100

/**
 * The sync server: clients connect to it over WebSocket, and what one of them changes reaches all
 * others that may see it.
 *
 * @example
 * const server = createKoraServer({ store: createSqliteServerStore({ filename: './app.db' }) })
 * await server.start()
 */
export class KoraSyncServer {
  readonly #config: KoraSyncServerConfig
  readonly #runtime: Runtime
  readonly #logger: Logger
  readonly #path: string
  #hub: SyncHub
  #polling: HttpPolling
  #http: Server | null = null
  #webSockets: WebSocketEndpoint | null = null
  #startedAt: number | null = null
  #stopping: Promise<void> | null = null

  constructor(config: KoraSyncServerConfig) {
    this.#config = config
    this.#runtime = config.runtime ?? systemRuntime()
    this.#logger = config.logger ?? pino({ name: 'kora-server' })
    this.#path = config.path ?? '/'
    this.#hub = this.#createHub()
    this.#polling = this.#createPolling(this.#hub)
  }

  /** What runs behind the sockets: for the daemon's metrics and dashboards. */
  get hub(): SyncHub {
    return this.#hub
  }

  /**
   * Listens for clients.
   *
   * @throws KoraServerError `ALREADY_RUNNING`, `PORT_IN_USE`, `LISTEN_FAILED`
   */
  async start(): Promise<void> {
    if (this.#http !== null) throw new KoraServerError('ALREADY_RUNNING', 'The server is already running.')
    if (this.#hub.isStopping) {
      this.#hub = this.#createHub()
      this.#polling = this.#createPolling(this.#hub)
    }
    const http = this.#createHttpServer()
    this.#http = http
    try {
      await this.#hub.open()
      await listen(http, this.#config.port ?? 4567, this.#config.host ?? '0.0.0.0')
    } catch (error) {
      this.#http = null
      throw error
    }
    this.#webSockets?.start()
    this.#startedAt = this.#runtime.monotonicNow()
    logEvent(this.#logger, LOG_EVENTS.serverStarted, { url: this.url, schemaVersion: this.#schemaVersion() })
  }

  /**
   * Ends gracefully: refuses new connections, lets accepted batches be stored and acknowledged,
   * closes the sessions, frees the port. Idempotent; the server may be started again afterwards.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop().finally(() => {
      this.#stopping = null
    })
    return this.#stopping
  }

  /** Closes every connection now. What was not acknowledged, the clients send again. */
  abort(): void {
    this.#hub.abort()
    this.#webSockets?.stop()
    this.#http?.closeAllConnections()
  }

  /** Attaches a connection that the application accepted by itself. @returns the session's id */
  handleConnection(transport: ServerTransport): string {
    return this.#hub.connect(transport)
  }

  /** Serves one request of the HTTP form of the sync protocol, for applications with a server of their own. */
  handleHttpRequest(request: HttpSyncRequest): Promise<HttpSyncResponse> {
    return this.#polling.handle(request)
  }

  async getStatus(): Promise<ServerStatus> {
    const { stats, sessions } = this.#hub
    const nodeIds = [...sessions.values()].flatMap((session) => session.identity?.nodeId ?? [])
    return {
      running: this.#startedAt !== null,
      connectedClients: sessions.size,
      port: this.#port(),
      totalOperations: await this.#config.store.getOperationCount(),
      uptime: this.#startedAt === null ? 0 : Math.round(this.#runtime.monotonicNow() - this.#startedAt),
      version: packageVersion(),
      schemaVersion: this.#schemaVersion(),
      connectedNodeIds: [...new Set(nodeIds)],
      peakConnections: stats.peakConnections,
      connectionsTotal: stats.connectionsTotal,
      operationsReceived: stats.operationsReceived,
      operationsSent: stats.operationsSent,
      errorCount: stats.errorCount,
    }
  }

  /** Open sessions. */
  getConnectionCount(): number {
    return this.#hub.sessions.size
  }

  /** `ws://host:port/path`, or null while not listening. */
  get url(): string | null {
    const port = this.#port()
    if (port === null) return null
    const host = this.#config.host ?? '0.0.0.0'
    const shown = host === '0.0.0.0' || host === '::' ? 'localhost' : host
    return `ws://${shown.includes(':') ? `[${shown}]` : shown}:${port}${this.#path}`
  }

  async #stop(): Promise<void> {
    const http = this.#http
    if (http === null && this.#hub.sessions.size === 0) return
    const startedAt = this.#runtime.monotonicNow()
    logEvent(this.#logger, LOG_EVENTS.serverStopping, { sessions: this.#hub.sessions.size })
    const closed = http === null ? null : new Promise<void>((resolve) => http.close(() => resolve()))
    await this.#hub.stop({ spreadMs: this.#config.stopSpreadMs ?? 0 })
    await this.#webSockets?.closed(CLOSE_TIMEOUT_MS)
    this.#webSockets?.stop()
    this.#polling.stop()
    http?.closeAllConnections()
    await closed
    this.#http = null
    this.#webSockets = null
    this.#startedAt = null
    const durationMs = Math.round(this.#runtime.monotonicNow() - startedAt)
    logEvent(this.#logger, LOG_EVENTS.serverStopped, { durationMs })
  }

  #createHub(): SyncHub {
    const { store, auth, batchSize = 100, limits, ...config } = this.#config
    const schemaVersion = this.#schemaVersion()
    return new SyncHub({
      store,
      runtime: this.#runtime,
      logger: this.#logger,
      auth: auth ?? new NoAuthProvider(),
      batchSize,
      schemaVersion,
      supportedSchemaVersions: config.supportedSchemaVersions ?? { min: schemaVersion, max: schemaVersion },
      limits: {
        ...DEFAULT_SYNC_LIMITS,
        ...limits,
        maxConnections: config.maxConnections ?? DEFAULT_SYNC_LIMITS.maxConnections,
        maxOperationBytes: config.maxOperationBytes ?? DEFAULT_SYNC_LIMITS.maxOperationBytes,
        maxOpsPerMinute: config.maxOpsPerMinute ?? DEFAULT_SYNC_LIMITS.maxOpsPerMinute,
      },
      ...(config.validateOperation && { validateOperation: config.validateOperation }),
      ...(config.persistBlobChunk && { persistBlobChunk: config.persistBlobChunk }),
      ...(config.resolveBlobChunk && { resolveBlobChunk: config.resolveBlobChunk }),
    })
  }

  #createPolling(hub: SyncHub): HttpPolling {
    const { auth, limits, maxConnections = 0 } = this.#config
    return new HttpPolling({
      runtime: this.#runtime,
      auth: auth ?? new NoAuthProvider(),
      connect: (transport) => hub.connect(transport),
      ownerOf: (sessionId) => hub.sessions.get(sessionId)?.identity?.auth ?? null,
      maxMessageBytes: limits?.maxMessageBytes ?? DEFAULT_SYNC_LIMITS.maxMessageBytes,
      maxHandshakeBytes: HANDSHAKE_FRAME_BYTES,
      maxClients: maxConnections,
    })
  }

  #schemaVersion(): number {
    return this.#config.schemaVersion ?? 1
  }

  #createHttpServer(): Server {
    const { limits, allowedOrigins, addressOf } = this.#config
    const { maxMessageBytes, idleTimeoutMs } = { ...DEFAULT_SYNC_LIMITS, ...limits }
    const webSockets = new WebSocketEndpoint({
      maxMessageBytes,
      idleTimeoutMs,
      allowedOrigins: allowedOrigins ?? null,
      addressOf: addressOf ?? socketAddress,
      onConnection: (transport) => void this.#hub.connect(transport),
    })
    this.#webSockets = webSockets
    const server = createServer((request, response) => this.#answer(request, response))
    server.maxHeadersCount = MAX_HEADERS_COUNT
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (pathOf(request) === this.#path) webSockets.handleUpgrade(request, socket, head)
      else refuseUpgrade(socket, 404, `Sync is served at ${this.#path}.`)
    })
    return server
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = pathOf(request)
    if (path === '/health') answerHealth(response, this.#healthOptions())
    else if (path === '/ready') void answerReady(response, this.#healthOptions())
    else if (path === this.#path) void this.#answerSync(request, response)
    else answerJson(response, 404, { error: `Nothing is served here. Sync is at ${this.#path}.` })
  }

  async #answerSync(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { limits, allowedOrigins, addressOf } = this.#config
    await answerPolling(request, response, {
      polling: this.#polling,
      maxMessageBytes: limits?.maxMessageBytes ?? DEFAULT_SYNC_LIMITS.maxMessageBytes,
      allowedOrigins: allowedOrigins ?? null,
      addressOf: addressOf ?? socketAddress,
      runtime: this.#runtime,
    }).catch((error: unknown) => {
      logEvent(this.#logger, LOG_EVENTS.requestFailed, { err: error })
      if (!response.headersSent)
        answerJson(response, 500, { error: 'The server could not process the request.' })
      else response.destroy()
    })
  }

  #healthOptions(): HealthOptions {
    return {
      store: this.#config.store,
      runtime: this.#runtime,
      startedAt: this.#startedAt ?? this.#runtime.monotonicNow(),
      isStopping: () => this.#hub.isStopping,
    }
  }

  #port(): number | null {
    const address = this.#http?.address() as AddressInfo | string | null | undefined
    return typeof address === 'object' && address !== null ? address.port : null
  }
}

/** Creates a sync server; `start()` makes it listen. */
export function createKoraServer(config: KoraSyncServerConfig): KoraSyncServer {
  return new KoraSyncServer(config)
}

/** How long sockets may take to finish their close handshake before they are cut. */
const CLOSE_TIMEOUT_MS = 1000

function socketAddress(request: IncomingMessage): string {
  return request.socket.remoteAddress ?? ''
}

/** The path without its query. Request targets may be anything: this must not throw. */
function pathOf(request: IncomingMessage): string {
  const target = request.url ?? '/'
  const end = target.search(/[?#]/)
  return end === -1 ? target : target.slice(0, end)
}
