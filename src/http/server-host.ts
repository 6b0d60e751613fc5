import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { KoraServerError } from '../core/errors.ts'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import { packageVersion } from '../core/package-files.ts'
import type { Runtime } from '../core/runtime.ts'
import type { CompactionStats } from '../store/compaction/compaction-schedule.ts'
import { authorizeApplication } from '../sync/authorization.ts'
import { DataPlane, type Kora } from '../sync/data-plane.ts'
import { noMetrics } from '../sync/sync-metrics.ts'
import { type HttpRoute, mountAppRoutes } from './app-routes.ts'
import { clientAddress } from './client-address.ts'
import { mountDashboard } from './dashboard/dashboard.ts'
import { LiveSeries } from './dashboard/live-series.ts'
import { RecentEvents } from './dashboard/recent-events.ts'
import type { EmbedderPolicy } from './embedder-policy.ts'
import { mountHealth } from './health.ts'
import type { ListenPlace } from './listen.ts'
import { type OperationalAuth, OperationsAccess, opensDashboard } from './operations/access.ts'
import { mountOperations } from './operations/routes.ts'
import { isOwnPath, OPERATIONS_PREFIX } from './own-paths.ts'
import { PrometheusMetrics } from './prometheus-metrics.ts'
import { Readiness } from './readiness.ts'
import { pathOf } from './request-path.ts'
import type { ServerStatus } from './server-status.ts'
import { asksForPage, isNavigation, mountStaticFiles, notFound, sendApp } from './static-files.ts'
import { SyncService, type SyncServiceConfig } from './sync-service.ts'
import { type TlsOptions, tlsOfOperations } from './tls-files.ts'
import { WebServer } from './web-server.ts'

export interface OperationsConfig {
  readonly auth: OperationalAuth
  /** A listener of their own; absent: they share the public one. */
  readonly listener?: ListenPlace
  /** Default true. */
  readonly servesMetrics?: boolean
  /** Default true. */
  readonly servesDashboard?: boolean
}

export interface ServerHostOptions extends ListenPlace {
  readonly sync: SyncServiceConfig
  readonly logger: Logger
  readonly runtime: Runtime
  readonly tls?: TlsOptions
  /** Addresses and CIDR ranges of the proxies whose `X-Forwarded-For` is trusted. */
  readonly trustProxy?: readonly string[]
  /** `GET /health` and `GET /ready`. Default true. */
  readonly servesHealth?: boolean
  /** Absent: there are no operations endpoints. */
  readonly operations?: OperationsConfig
  /** Listens to `logger` already, for the dashboard. Default: a new one. */
  readonly recent?: RecentEvents
  /** Folder with the built front end. */
  readonly staticDir?: string
  /** Sent with COOP `same-origin` on every response. Absent: neither is sent. */
  readonly embedderPolicy?: EmbedderPolicy
  readonly httpRoutes?: readonly HttpRoute[]
  /** Compacts the log beside the server; its figures become metrics. */
  readonly compaction?: { readonly stats: CompactionStats }
}

/**
 * One running server: the sync service, everything served beside it, and the listeners. The library's two servers
 * and the daemon are this class with different options.
 */
export class ServerHost {
  readonly service: SyncService
  readonly kora: Kora
  readonly #options: ServerHostOptions
  readonly #runtime: Runtime
  readonly #logger: Logger
  readonly #metrics: PrometheusMetrics | null
  /** null: there is no dashboard. */
  readonly #live: LiveSeries | null
  readonly #recent: RecentEvents
  readonly #addressOf: (request: IncomingMessage) => string
  readonly #readiness: Readiness
  #public: WebServer | null = null
  #private: WebServer | null = null
  #startedAt: number | null = null
  #starting: Promise<void> | null = null
  #stopping: Promise<void> | null = null

  constructor(options: ServerHostOptions) {
    const { sync, runtime, operations } = options
    this.#options = options
    this.#runtime = runtime
    this.#recent = options.recent ?? new RecentEvents(runtime)
    const logger = options.recent === undefined ? this.#recent.listenTo(options.logger) : options.logger
    this.#logger = logger
    this.#addressOf = sync.addressOf ?? clientAddress(options.trustProxy ?? [])
    this.#metrics = operations && operations.servesMetrics !== false ? new PrometheusMetrics() : null
    const servesDashboard = operations !== undefined && operations.servesDashboard !== false
    this.#live = servesDashboard
      ? new LiveSeries(() => this.service.hub, runtime, this.#metrics ?? noMetrics)
      : null
    const metrics = this.#live ?? this.#metrics
    this.service = new SyncService(
      { ...sync, addressOf: this.#addressOf },
      { runtime, logger, ...(metrics && { metrics }) },
    )
    this.#readiness = new Readiness({ store: sync.store, runtime, logger, hub: () => this.service.hub })
    this.kora = new DataPlane({
      access: authorizeApplication(sync.store),
      runtime,
      write: (write) => this.service.hub.write(write),
      schemaVersion: this.service.schemaVersion,
      maxOperationBytes: this.service.limits.maxOperationBytes,
    })
  }

  /** `http://host:port` of the public listener, or null while it does not listen. */
  get url(): string | null {
    return this.#public?.url ?? null
  }

  /** `ws://host:port/path`, or null while not listening. */
  get syncUrl(): string | null {
    return this.url === null ? null : `${this.url.replace(/^http/, 'ws')}${this.service.path}`
  }

  /** The URL of the status; null when there is none, or no request could be admitted. */
  get statusUrl(): string | null {
    return this.#operationsUrl === null ? null : `${this.#operationsUrl}/status`
  }

  /** The URL of the dashboard; null when there is none, or no request could be admitted. */
  get dashboardUrl(): string | null {
    return this.#live === null ? null : this.#operationsUrl
  }

  get #operationsUrl(): string | null {
    const { operations, host } = this.#options
    if (operations === undefined) return null
    const { auth, listener } = operations
    const url = listener === undefined ? this.url : this.#private?.url
    const isOpen = opensDashboard(auth, listener?.host ?? host)
    return url && isOpen ? `${url}${OPERATIONS_PREFIX}` : null
  }

  get port(): number | null {
    return this.#public?.port ?? null
  }

  /**
   * @throws KoraServerError `ALREADY_RUNNING`, `PORT_IN_USE`, `LISTEN_FAILED`
   * @throws ConfigError `TLS_INVALID`; `CONFIG_INVALID` when the path of a route is taken, or `staticDir` is a file
   */
  async start(): Promise<void> {
    if (this.#public !== null)
      throw new KoraServerError('ALREADY_RUNNING', 'The server is running, or was not stopped.')
    this.#starting = this.#start().finally(() => {
      this.#starting = null
    })
    return this.#starting
  }

  async #start(): Promise<void> {
    const { operations } = this.#options
    this.#startedAt = this.#runtime.monotonicNow()
    try {
      this.#public = this.#createPublic()
      await this.service.open()
      if (operations?.listener !== undefined) {
        this.#private = this.#createPrivate(operations, operations.listener)
        await this.#private.start()
      }
      await this.#public.start()
      this.#live?.start()
    } catch (error) {
      await this.#private?.close()
      await this.service.stop()
      this.#public = null
      this.#private = null
      this.#startedAt = null
      throw error
    }
    const { schemaVersion } = this.service
    logEvent(this.#logger, LOG_EVENTS.serverStarted, { url: this.syncUrl, schemaVersion })
  }

  /**
   * Stops gracefully: refuses new connections, lets accepted batches be stored and acknowledged, closes the
   * sessions, frees the ports. Idempotent; the host may be started again afterwards. Waits for a start that is
   * under way, so that nothing listens when this resolves.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop().finally(() => {
      this.#stopping = null
    })
    return this.#stopping
  }

  /** Closes every connection now, and accepts no more; `stop()` ends the rest. */
  abort(): void {
    this.service.abort()
    for (const server of [this.#public, this.#private]) {
      server?.stopListening()
      server?.closeAllConnections()
    }
    this.#startedAt = null
  }

  async getStatus(): Promise<ServerStatus> {
    const { stats, sessions } = this.service.hub
    const { store } = this.#options.sync
    const servers = await store.listServers?.()
    const nodeIds = [...sessions.values()].flatMap((session) => session.identity?.nodeId ?? [])
    return {
      running: this.#startedAt !== null,
      connectedClients: sessions.size,
      port: this.port,
      totalOperations: await store.getOperationCount(),
      uptime: this.#startedAt === null ? 0 : Math.round(this.#runtime.monotonicNow() - this.#startedAt),
      version: packageVersion(),
      schemaVersion: this.service.schemaVersion,
      connectedNodeIds: [...new Set(nodeIds)],
      peakConnections: stats.peakConnections,
      connectionsTotal: stats.connectionsTotal,
      operationsReceived: stats.operationsReceived,
      operationsSent: stats.operationsSent,
      errorCount: stats.errorCount,
      ...(servers && { servers }),
    }
  }

  async #stop(): Promise<void> {
    await this.#starting?.catch(() => {}) // the caller of `start()` gets the error
    const [publicServer, privateServer] = [this.#public, this.#private]
    const { hub } = this.service
    if (publicServer === null && hub.sessions.size === 0) {
      await this.service.stop() // the data plane may have been used without a start
      return
    }
    const startedAt = this.#runtime.monotonicNow()
    logEvent(this.#logger, LOG_EVENTS.serverStopping, { sessions: hub.sessions.size })
    publicServer?.stopListening()
    await this.service.stop()
    await Promise.all([publicServer?.close(), privateServer?.close()])
    this.#metrics?.stop()
    this.#live?.stop()
    this.#public = null
    this.#private = null
    this.#startedAt = null
    const durationMs = Math.round(this.#runtime.monotonicNow() - startedAt)
    logEvent(this.#logger, LOG_EVENTS.serverStopped, { durationMs })
  }

  // ── listeners ──────────────────────────────────────────────────────────────────────────────

  /** ms that a connection may stay silent once it is open: the same as for the handshake of a session. */
  get #handshakeTimeoutMs(): number {
    return this.service.limits.handshakeTimeoutMs
  }

  #createPublic(): WebServer {
    const { host, port, portOption, tls, runtime, embedderPolicy } = this.#options
    return new WebServer({
      host,
      port,
      ...(portOption !== undefined && { portOption }),
      runtime,
      logger: this.#logger,
      headersTimeoutMs: this.#handshakeTimeoutMs,
      ...(tls && { tls }),
      headers: {
        'x-content-type-options': 'nosniff',
        ...(embedderPolicy && {
          'cross-origin-opener-policy': 'same-origin',
          'cross-origin-embedder-policy': embedderPolicy,
        }),
      },
      mount: (app) => this.#mountPublic(app),
      onUpgrade: (path, request, socket, head) => this.#upgrade(path, request, socket, head),
    })
  }

  #createPrivate(operations: OperationsConfig, listener: ListenPlace): WebServer {
    const { runtime } = this.#options
    const tls = tlsOfOperations(this.#options.tls ?? null, listener.host)
    return new WebServer({
      ...listener,
      runtime,
      logger: this.#logger,
      headersTimeoutMs: this.#handshakeTimeoutMs,
      ...(tls && { tls }),
      headers: { 'x-content-type-options': 'nosniff' },
      mount: (app) => {
        this.#mountHealth(app)
        this.#mountOperations(app, operations, listener.host)
        app.setNotFoundHandler((_request, reply) => notFound(reply))
      },
    })
  }

  #mountPublic(app: FastifyInstance): void {
    const { staticDir, servesHealth = true, operations, httpRoutes = [], host } = this.#options
    if (servesHealth) this.#mountHealth(app)
    if (operations !== undefined && operations.listener === undefined) {
      this.#mountOperations(app, operations, host)
    }
    mountAppRoutes(app, {
      routes: httpRoutes,
      kora: this.kora,
      addressOf: this.#addressOf,
      runtime: this.#runtime,
      logger: this.#logger,
      isReserved: (path) => isOwnPath(path) || path === this.service.path,
    })
    this.service.mount(app, (request, reply) => this.#answerBrowser(request, reply))
    if (staticDir !== undefined) mountStaticFiles(app, staticDir)
    app.setNotFoundHandler((request, reply) => this.#answerUnknown(request, reply))
  }

  /**
   * Gives the page of the app, or its address, only to a browser that navigates to the path of sync: polling
   * clients may accept any content type.
   */
  #answerBrowser(request: FastifyRequest, reply: FastifyReply): FastifyReply | null {
    if (!isNavigation(request)) return null
    if (this.#options.staticDir !== undefined) return sendApp(reply)
    const text = 'kora-server is running. Apps sync at this address; there is no page here.\n'
    return reply.headers({ vary: 'accept', 'cache-control': 'no-store' }).type('text/plain').send(text)
  }

  #answerUnknown(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    // A request for a path that belongs to the server must not get the app's page for an answer.
    const isOfApp = this.#options.staticDir !== undefined && !isOwnPath(pathOf(request.raw))
    if (isOfApp && asksForPage(request)) return sendApp(reply)
    if (isOfApp) return notFound(reply.header('vary', 'accept'))
    return notFound(reply, `Nothing is served here. Sync is at ${this.service.path}.`)
  }

  #mountHealth(app: FastifyInstance): void {
    const startedAt = this.#startedAt ?? this.#runtime.monotonicNow()
    const { store } = this.#options.sync
    mountHealth(app, { readiness: this.#readiness, store, runtime: this.#runtime, startedAt })
  }

  #mountOperations(app: FastifyInstance, { auth }: OperationsConfig, host: string): void {
    const { runtime, sync } = this.#options
    const shared = {
      access: new OperationsAccess({ auth, store: sync.store, host, addressOf: this.#addressOf, runtime }),
      store: sync.store,
      runtime,
      logger: this.#logger,
      hub: () => this.service.hub,
      readiness: this.#readiness,
    }
    const live = this.#live
    const getStatus = () => this.getStatus()
    const compaction = () => this.#options.compaction?.stats ?? null
    mountOperations(app, { ...shared, getStatus, metrics: this.#metrics, compaction, live })
    if (live === null) return
    const startedAt = this.#startedAt ?? runtime.monotonicNow()
    mountDashboard(app, OPERATIONS_PREFIX, {
      ...shared,
      live,
      recent: this.#recent,
      schemaVersion: this.service.schemaVersion,
      uptimeMs: () => runtime.monotonicNow() - startedAt,
    })
  }

  #upgrade(path: string, request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    return this.service.handleUpgrade(path, request, socket, head)
  }
}
