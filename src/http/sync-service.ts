import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { NoAuthProvider } from '../auth/no-auth-provider.ts'
import type { AuthProvider } from '../auth/provider.ts'
import { ConfigError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { HANDSHAKE_DECODE_LIMITS } from '../protocol/codec.ts'
import type { ServerStore } from '../store/store.ts'
import { SyncHub } from '../sync/hub.ts'
import type { PersistBlobChunk, ResolveBlobChunk, SyncLimits, ValidateOperation } from '../sync/options.ts'
import type { SyncMetrics } from '../sync/sync-metrics.ts'
import { HttpPolling } from '../transport/http-polling.ts'
import type { HttpSyncRequest, HttpSyncResponse } from '../transport/http-sync.ts'
import { WebSocketEndpoint } from '../transport/websocket.ts'
import { routePattern } from './app-routes.ts'
import { type AddressOf, socketAddress } from './client-address.ts'
import { syncPathProblem } from './own-paths.ts'
import { answerPolling } from './polling-route.ts'
import { SessionBodies } from './session-bodies.ts'
import { StrangerBodies } from './stranger-bodies.ts'
import { resolveSyncSettings, type SyncSettings } from './sync-settings.ts'

/** The options of the sync endpoint, except for its port. */
export interface SyncServiceConfig {
  /** The store of the operations. The caller closes it, after the server has stopped. */
  store: ServerStore
  /** Path of the sync endpoint. Default `'/'`. */
  path?: string | undefined
  /** Default `NoAuthProvider`: everyone may see and write everything. */
  auth?: AuthProvider | undefined
  /** Operations per batch sent. Default 100. */
  batchSize?: number | undefined
  /** Default 0: unlimited. */
  maxConnections?: number | undefined
  /** Schema version of the app. Default 1. */
  schemaVersion?: number | undefined
  /** Client schema versions that are let in, inclusive. Default: just `schemaVersion`. */
  supportedSchemaVersions?: { min: number; max: number } | undefined
  /** Default 262144. */
  maxOperationBytes?: number | undefined
  /** Sustained rate per connection, with a burst of the same size; 0 = unlimited. Default 6000. */
  maxOpsPerMinute?: number | undefined
  /** The application's own check of each operation. */
  validateOperation?: ValidateOperation | undefined
  /** Stores a chunk of a blob by its SHA-256. Together with `resolveBlobChunk`. */
  persistBlobChunk?: PersistBlobChunk | undefined
  /** Reads such a chunk. null: it is not stored, so clients that may have it are asked. */
  resolveBlobChunk?: ResolveBlobChunk | undefined
  /** Further bounds, and those above that are not given there. Default: those of `SyncLimits`. */
  limits?: GivenLimits | undefined
  /** Exact origins of browsers that may connect. Default: any. */
  allowedOrigins?: readonly string[] | undefined
  /** Finds the client's address behind a proxy. Default: the address of the socket. */
  addressOf?: AddressOf | undefined
  /** ms over which `stop()` closes connections, so that clients do not all return at once. Default 0. */
  stopSpreadMs?: number | undefined
  /**
   * ms that `stop()` waits for the work of a session, such as a batch that `validateOperation` has yet to judge.
   * The client sends again what takes longer. Default 10000.
   */
  stopTimeoutMs?: number | undefined
}

type GivenLimits = { readonly [limit in keyof SyncLimits]?: SyncLimits[limit] | undefined }

export interface SyncServiceTools {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly metrics?: SyncMetrics
}

/** How long closing connections gracefully may take. */
const CLOSE_TIMEOUT_MS = 2000

/** The sync endpoint of one server, over WebSocket and HTTP polling. It has no listener of its own. */
export class SyncService {
  readonly path: string
  readonly #config: SyncServiceConfig
  readonly #settings: SyncSettings
  readonly #tools: SyncServiceTools
  readonly #strangerBodies: StrangerBodies
  readonly #sessionBodies: SessionBodies
  #hub: SyncHub
  #polling: HttpPolling
  #webSockets: WebSocketEndpoint

  /** @throws ConfigError `CONFIG_INVALID` for a path where sync cannot be served, or for invalid options */
  constructor(config: SyncServiceConfig, tools: SyncServiceTools) {
    this.path = config.path ?? '/'
    const problem = syncPathProblem(this.path)
    if (problem !== null) throw new ConfigError('CONFIG_INVALID', `The sync path ${problem}.`)
    this.#config = config
    this.#settings = resolveSyncSettings(config)
    this.#tools = tools
    this.#strangerBodies = new StrangerBodies({ ...tools, addressOf: config.addressOf ?? socketAddress })
    this.#sessionBodies = new SessionBodies({ maxBytes: this.limits.maxMessageBytes, runtime: tools.runtime })
    this.#hub = this.#createHub()
    this.#polling = this.#createPolling(this.#hub)
    this.#webSockets = this.#createWebSockets()
  }

  get hub(): SyncHub {
    return this.#hub
  }

  get schemaVersion(): number {
    return this.#settings.schemaVersion
  }

  get limits(): SyncLimits {
    return this.#settings.limits
  }

  /** Opens the service, even after it was stopped. */
  async open(): Promise<void> {
    if (this.#hub.isStopping) {
      this.#hub = this.#createHub()
      this.#polling = this.#createPolling(this.#hub)
      this.#webSockets = this.#createWebSockets()
    }
    await this.#hub.open()
    this.#webSockets.start()
  }

  /** Lets accepted batches be stored and acknowledged, then closes the sessions. Idempotent. */
  async stop(): Promise<void> {
    const { stopSpreadMs: spreadMs, stopTimeoutMs: timeoutMs } = this.#settings
    await this.#hub.stop({ spreadMs, timeoutMs })
    await this.#webSockets.closed(CLOSE_TIMEOUT_MS)
    this.#webSockets.stop()
    this.#polling.stop()
  }

  /** Closes every connection now. Clients send again what was not acknowledged. */
  abort(): void {
    this.#hub.abort()
    this.#webSockets.stop()
  }

  handleHttpRequest(request: HttpSyncRequest): Promise<HttpSyncResponse> {
    return this.#polling.handle(request)
  }

  /** @returns false when this is not the path of the endpoint */
  handleUpgrade(path: string, request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    if (path !== this.path) return false
    this.#webSockets.handleUpgrade(request, socket, head)
    return true
  }

  /**
   * Serves polling at the endpoint's path.
   *
   * @param serveOther answers requests at this path that are not for sync; null: nothing else is served there
   */
  mount(
    app: FastifyInstance,
    serveOther: (request: FastifyRequest, reply: FastifyReply) => FastifyReply | null,
  ): void {
    app.register(async (scope) => {
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', (_request, _payload, done) => done(null)) // read below, within its bounds
      scope.all(routePattern(this.path), async (request, reply) => {
        const other = serveOther(request, reply)
        if (other !== null) return other
        reply.hijack()
        await this.#answerPolling(request, reply)
        return reply
      })
    })
  }

  async #answerPolling(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { allowedOrigins, addressOf } = this.#config
    await answerPolling(request.raw, reply.raw, {
      polling: this.#polling,
      allowedOrigins: allowedOrigins ?? null,
      addressOf: addressOf ?? socketAddress,
      strangerBodies: this.#strangerBodies,
      sessionBodies: this.#sessionBodies,
      handshakeTimeoutMs: this.limits.handshakeTimeoutMs,
      runtime: this.#tools.runtime,
      logger: this.#tools.logger,
    })
  }

  #createHub(): SyncHub {
    const { store, auth, ...config } = this.#config
    const { batchSize, schemaVersion, supportedSchemaVersions, limits } = this.#settings
    return new SyncHub({
      ...this.#tools,
      store,
      auth: auth ?? new NoAuthProvider(),
      batchSize,
      schemaVersion,
      supportedSchemaVersions,
      limits,
      ...(config.validateOperation && { validateOperation: config.validateOperation }),
      ...(config.persistBlobChunk && { persistBlobChunk: config.persistBlobChunk }),
      ...(config.resolveBlobChunk && { resolveBlobChunk: config.resolveBlobChunk }),
    })
  }

  #createPolling(hub: SyncHub): HttpPolling {
    const { auth } = this.#config
    const { maxMessageBytes, maxConnections } = this.limits
    const { runtime, logger } = this.#tools
    return new HttpPolling({
      runtime,
      logger,
      auth: auth ?? new NoAuthProvider(),
      connect: (transport) => hub.connect(transport),
      ownerOf: (sessionId) => hub.sessions.get(sessionId)?.identity?.auth ?? null,
      maxMessageBytes,
      maxHandshakeBytes: HANDSHAKE_DECODE_LIMITS.maxFrameBytes,
      maxClients: maxConnections,
    })
  }

  #createWebSockets(): WebSocketEndpoint {
    const { allowedOrigins, addressOf } = this.#config
    const { maxMessageBytes, idleTimeoutMs } = this.limits
    return new WebSocketEndpoint({
      maxHandshakeBytes: HANDSHAKE_DECODE_LIMITS.maxFrameBytes,
      maxMessageBytes,
      idleTimeoutMs,
      allowedOrigins: allowedOrigins ?? null,
      addressOf: addressOf ?? socketAddress,
      onConnection: (transport) => this.#hub.connect(transport),
      onDead: (sessionId) => this.#hub.onConnectionDead(sessionId),
    })
  }
}
