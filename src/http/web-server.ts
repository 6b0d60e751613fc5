import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { lazyRequire } from '../core/lazy-require.ts'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { refuseUpgrade } from '../transport/websocket.ts'
import { answerClientError } from './client-error.ts'
import { type ListenPlace, listen } from './listen.ts'
import { listenerOrigin } from './listener-origin.ts'
import { pathOf } from './request-path.ts'
import { TlsFiles, type TlsOptions } from './tls-files.ts'

const requireFastify = lazyRequire<typeof import('fastify')>('fastify')

export interface WebServerOptions extends ListenPlace {
  readonly tls?: TlsOptions
  readonly logger: Logger
  readonly runtime: Runtime
  /**
   * ms from the opening of a connection, or the first byte of another request on it, to the end of the headers;
   * also for a TLS handshake before that. At most 20 s.
   */
  readonly headersTimeoutMs: number
  /** Sent with every response. */
  readonly headers?: { readonly [name: string]: string }
  /** Adds the routes. */
  readonly mount: (app: FastifyInstance) => void | Promise<void>
  /** Called when a WebSocket client asks to connect at this path; false: there is nothing at this path. */
  readonly onUpgrade?: (path: string, request: IncomingMessage, socket: Duplex, head: Buffer) => boolean
}

const MAX_HEADERS_COUNT = 100
/** Bytes of a request line and its headers together. */
const MAX_HEADER_BYTES = 16 * 1024
/** Enough for the headers of any client, yet short for an attacker who holds connections by sending them slowly. */
const MAX_HEADERS_TIMEOUT_MS = 20_000
/** From the first byte of a request to the last of its body. @see readLongUpload */
const REQUEST_TIMEOUT_MS = 300_000
/** How often Node checks for expired requests. Its default of half a minute would be added to their time. */
const CHECK_INTERVAL_MS = 1000
/** Longer than the minute for which load balancers reuse idle connections, so that they never find one cut. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000
const MAX_BODY_BYTES = 1024 * 1024

/** One listener: plain or TLS, routes by Fastify, upgrades to WebSocket. No request can end the process. */
export class WebServer {
  readonly #options: WebServerOptions
  readonly #server: Server
  readonly #tls: TlsFiles | null
  #app: FastifyInstance | null = null

  /** @throws ConfigError `TLS_INVALID` */
  constructor(options: WebServerOptions) {
    this.#options = options
    this.#tls = options.tls ? new TlsFiles(options.tls, options.runtime, options.logger) : null
    this.#server = this.#createServer(this.#tls)
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
  }

  /** null while it does not listen */
  get port(): number | null {
    const address = this.#server.address() as AddressInfo | string | null
    return typeof address === 'object' && address !== null ? address.port : null
  }

  /** `http://host:port`, or null while it does not listen. */
  get url(): string | null {
    const { port } = this
    if (port === null) return null
    return listenerOrigin({ host: this.#options.host, port }, this.#tls !== null)
  }

  /** @throws KoraServerError `PORT_IN_USE`, `LISTEN_FAILED` */
  async start(): Promise<void> {
    const app = await this.#createApp()
    try {
      await this.#options.mount(app)
      await app.ready()
      await listen(this.#server, this.#options)
    } catch (error) {
      await app.close()
      throw error
    }
    this.#app = app
    const server = this.#server
    if (server instanceof TlsServer) this.#tls?.watch((pair) => server.setSecureContext(pair))
  }

  /** Accepts no more connections. Requests that are being answered go on. */
  stopListening(): void {
    if (this.#server.listening) this.#server.close()
  }

  /** Waits a while for requests that are being answered, then ends all connections. */
  async close(): Promise<void> {
    this.#tls?.stop()
    const deadline = setTimeout(() => this.closeAllConnections(), CLOSE_TIMEOUT_MS)
    await this.#app?.close()
    await new Promise<void>((resolve) => this.#server.close(() => resolve())) // also when it is closed already
    clearTimeout(deadline)
  }

  closeAllConnections(): void {
    this.#server.closeAllConnections()
  }

  async #createApp(): Promise<FastifyInstance> {
    const app = requireFastify().fastify({
      serverFactory: (handler) => {
        const { headers = {} } = this.#options
        this.#server.on('request', (request, response) => {
          for (const name in headers) response.setHeader(name, headers[name] ?? '')
          handler(request, response)
        })
        return this.#server
      },
      clientErrorHandler: answerClientError,
      bodyLimit: MAX_BODY_BYTES,
      logger: false,
      return503OnClosing: false, // requests that are being served are served to the end
      schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    })
    app.setErrorHandler((error: FastifyError, request, reply) => this.#answerError(error, request, reply))
    return app
  }

  #createServer(tls: TlsFiles | null): Server {
    const headersTimeout = Math.min(this.#options.headersTimeoutMs, MAX_HEADERS_TIMEOUT_MS)
    const limits = {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    }
    // The TLS handshake before has a time limit of its own.
    const server =
      tls === null
        ? createServer(limits)
        : createTlsServer({ ...limits, handshakeTimeout: headersTimeout, ...tls.current })
    server.maxHeadersCount = MAX_HEADERS_COUNT
    return server
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    // Sent without waiting for the previous answer, which would end up in the middle of the new protocol.
    if (isAnswering(socket)) {
      socket.destroy()
      return
    }
    try {
      if (request.headers.upgrade?.toLowerCase() !== 'websocket') {
        this.#answerWithoutUpgrade(request, socket)
        return
      }
      const path = pathOf(request)
      if (this.#options.onUpgrade?.(path, request, socket, head)) return
      refuseUpgrade(socket, 404, 'No WebSocket is served at this path.')
    } catch (error) {
      logEvent(this.#options.logger, LOG_EVENTS.requestFailed, { err: error })
      socket.destroy()
    }
  }

  /** Continues with HTTP/1.1. Some clients offer HTTP/2 in their first request, which a server may ignore. */
  #answerWithoutUpgrade(request: IncomingMessage, socket: Duplex): void {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      refuseUpgrade(socket, 400, 'Send this request without "Upgrade".')
      return
    }
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket as Socket) // sockets that an HTTP server emits are of this type
    response.on('finish', () => {
      response.detachSocket(socket as Socket)
      socket.end(() => socket.destroy())
    })
    this.#server.emit('request', request, response)
  }

  #answerError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): unknown {
    const status = error.statusCode ?? 500
    if (status >= 400 && status < 500) return reply.code(status).send({ error: error.message })
    return answerFailure(error, { request, reply, logger: this.#options.logger })
  }
}

/** Answers a failed request. The reason goes to the log; the client only learns that there was an error. */
export function answerFailure(
  error: unknown,
  { request, reply, logger }: { request: FastifyRequest; reply: FastifyReply; logger: Logger },
): FastifyReply {
  logEvent(logger, LOG_EVENTS.requestFailed, { err: error, path: pathOf(request.raw) })
  return reply.code(500).send({ error: 'The server could not process the request.' })
}

const CLOSE_TIMEOUT_MS = 2000

/** Replaces fastify's schema compiler, which takes longer to load than fastify itself. */
function noSchemas(): never {
  throw new Error('No route of this server has a schema')
}

/**
 * True while an earlier request of the connection is being answered. Only this field of Node shows it, because its
 * own refusals emit no request.
 */
function isAnswering(socket: Duplex & { _httpMessage?: unknown }): boolean {
  return socket._httpMessage !== undefined && socket._httpMessage !== null
}
