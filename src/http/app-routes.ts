import { type IncomingHttpHeaders, validateHeaderName, validateHeaderValue } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ConfigError } from '../core/errors.ts'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { describeValue } from '../protocol/json-value.ts'
import type { Kora } from '../sync/data-plane.ts'
import type { AddressOf } from './client-address.ts'
import { onFailureMidway } from './failure-midway.ts'
import { pathOf } from './request-path.ts'
import { routePayload } from './route-body.ts'
import { StrangerBodies } from './stranger-bodies.ts'
import { answerFailure } from './web-server.ts'

/** A request to a route of the application. */
export interface HttpRouteRequest {
  readonly method: string
  /** The whole path, without the query. */
  readonly path: string
  /** JSON as its value, a form and other text as text, everything else as bytes; undefined without a body. */
  readonly body: unknown
  /** The body as it arrived, for checking signatures. */
  readonly rawBody: Uint8Array
  readonly headers: IncomingHttpHeaders
  /** A name that occurs more than once maps to a list. */
  readonly query: { readonly [name: string]: string | readonly string[] }
  /** The client's address, as far as it can be trusted. */
  readonly ip: string
  readonly kora: Kora
}

/**
 * The answer of a route. Text, bytes and a `Readable` of them are sent as they are, any other body as JSON. No
 * return value: 204.
 */
export interface HttpRouteResponse {
  /** Default 200, or 204 without a body. */
  readonly status?: number
  readonly headers?: { readonly [name: string]: string | readonly string[] }
  readonly body?: unknown
}

export interface HttpRoute {
  /** `/api/orders` serves that path and everything below it. `/` serves only itself, and `/*` is refused. */
  readonly path: string
  // biome-ignore lint/suspicious/noConfusingVoidType: a handler without a return is one without a body
  handle(request: HttpRouteRequest): HttpRouteResponse | void | Promise<HttpRouteResponse | void>
}

export interface AppRoutesOptions {
  readonly routes: readonly HttpRoute[]
  readonly kora: Kora
  readonly addressOf: AddressOf
  /** True for a path that the server needs itself. */
  readonly isReserved: (path: string) => boolean
  readonly runtime: Runtime
  readonly logger: Logger
}

/**
 * Memory of a chunk beside its bytes: Fastify keeps each chunk until the last one, and a body may come a byte at a
 * time.
 */
const CHUNK_BYTES = 200
/** Fastify never reads a body with these methods. */
const METHODS_WITHOUT_BODY: ReadonlySet<string> = new Set(['GET', 'HEAD', 'TRACE'])

/**
 * Mounts the routes of the application.
 *
 * @throws ConfigError `CONFIG_INVALID` when a path is taken
 */
export function mountAppRoutes(app: FastifyInstance, options: AppRoutesOptions): void {
  const paths = options.routes.map(({ path }) => normalPath(path))
  for (const path of paths) {
    if (options.isReserved(path)) throw taken(path, 'is served by the server itself')
    if (paths.indexOf(path) !== paths.lastIndexOf(path)) throw taken(path, 'is there twice')
  }
  const bodies = new StrangerBodies(options)
  const handed = new WeakSet<FastifyRequest>() // requests handed to the application: errors from then on are its own
  app.register(async (scope) => {
    scope.setErrorHandler((error, request, reply) => {
      if (!handed.has(request)) throw error // an error of reading the body
      return answerFailure(error, { request, reply, logger: options.logger })
    })
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    scope.addHook('preParsing', ({ raw, method }, reply, payload, done) => {
      const isRead = !METHODS_WITHOUT_BODY.has(method)
      if (isRead) raw.on('data', (chunk: Buffer) => bodies.count(reply.raw, chunk.byteLength + CHUNK_BYTES))
      done(null, payload)
    })
    options.routes.forEach((route, index) => {
      const path = routePattern(paths[index] ?? '/')
      const handler = (request: FastifyRequest, reply: FastifyReply) => {
        handed.add(request)
        return serve(route, { request, reply }, options)
      }
      scope.all(path, handler)
      if (path !== '/') scope.all(`${path}/*`, handler)
    })
  })
}

/** Turns a path into a router pattern, in which a colon begins a parameter. */
export function routePattern(path: string): string {
  return path.replaceAll(':', '::')
}

async function serve(
  route: HttpRoute,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
  { kora, addressOf, logger }: AppRoutesOptions,
): Promise<FastifyReply> {
  const rawBody = request.body instanceof Uint8Array ? request.body : new Uint8Array()
  const body = parseBody(rawBody, request.headers['content-type'] ?? '')
  if (!body.ok) return reply.code(400).send({ error: 'The body is not valid JSON.' })
  const response = await route.handle({
    method: request.method,
    path: pathOf(request.raw),
    body: body.value,
    rawBody,
    headers: request.headers,
    query: request.query as HttpRouteRequest['query'], // the shape that the router's parser gives to any query
    ip: addressOf(request.raw),
    kora,
  })
  try {
    return send(reply, response ?? {}, (err) => {
      logEvent(logger, LOG_EVENTS.requestFailed, { path: pathOf(request.raw), err })
    })
  } catch (error) {
    dropStream(response)
    dropStream(response?.body)
    throw error
  }
}

/** Destroys a stream that will not be read: it would keep its file open, and an error of it would end the process. */
function dropStream(value: unknown): void {
  if (value instanceof Readable) value.on('error', () => {}).destroy()
}

/**
 * True for a body that can be answered. An untyped program may return anything, such as a `Response`, whose headers
 * would be lost.
 */
function isBody(returned: unknown): boolean {
  if (typeof returned === 'string' || returned instanceof Readable) return true
  if (typeof returned !== 'object' || returned === null) return false
  return Object.prototype.toString.call(returned) !== '[object Object]'
}

/** @throws TypeError for headers that HTTP does not allow; Fastify would otherwise answer in its own words */
function validateHeaders(headers: NonNullable<HttpRouteResponse['headers']>): void {
  for (const [name, value] of Object.entries(headers)) {
    validateHeaderName(name)
    for (const line of [value ?? ''].flat()) validateHeaderValue(name, line)
  }
}

/** @throws TypeError for a response, headers and a body that cannot be sent */
function send(
  reply: FastifyReply,
  response: HttpRouteResponse,
  onCutOff: (error: unknown) => void,
): FastifyReply {
  if (isBody(response)) {
    const shown = describeValue(response)
    throw new TypeError(`The route returned ${shown} where { status, headers, body } belongs: { body: … }.`)
  }
  const { status, headers = {}, body } = response
  validateHeaders(headers) // all of them first, or the answer to an error would carry those already set
  const isEmpty = body === undefined || body === null
  reply.code(status ?? (isEmpty ? 204 : 200)) // an invalid status fails, which must happen before a stream is read
  const payload = isEmpty ? null : routePayload(body)
  for (const [name, value] of Object.entries(headers)) reply.header(name, value)
  if (payload === null) return reply.send()
  if (payload.content instanceof Readable) onFailureMidway(payload.content, reply.raw, onCutOff)
  if (payload.isJson && !reply.hasHeader('content-type')) reply.type('application/json; charset=utf-8')
  return reply.send(payload.content)
}

function parseBody(bytes: Uint8Array, contentType: string): { ok: true; value: unknown } | { ok: false } {
  if (bytes.byteLength === 0) return { ok: true, value: undefined }
  const type = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (type === 'application/json' || type.endsWith('+json')) return parseJson(bytes)
  if (type.startsWith('text/') || type === 'application/x-www-form-urlencoded') {
    return { ok: true, value: Buffer.from(bytes).toString('utf8') }
  }
  return { ok: true, value: bytes }
}

function parseJson(bytes: Uint8Array): { ok: true; value: unknown } | { ok: false } {
  try {
    return { ok: true, value: JSON.parse(Buffer.from(bytes).toString('utf8'), withoutPrototype) }
  } catch {
    return { ok: false }
  }
}

/** Drops a key that would reach a prototype once the object is copied. */
function withoutPrototype(key: string, value: unknown): unknown {
  return key === '__proto__' ? undefined : value
}

/** Removes a trailing `/*` or `/`, because `/api/*` and `/api/` mean `/api`. */
function normalPath(path: string): string {
  if (!path.startsWith('/')) throw taken(path, 'must begin with "/"')
  if (path === '/*') throw taken(path, 'would leave nothing to the front end; name a part, such as "/api"')
  const normal = path.replace(/\/\*?$/, '')
  if (normal.includes('*')) throw taken(path, 'may have a "*" only at its end')
  return normal === '' ? '/' : normal
}

function taken(path: string, problem: string): ConfigError {
  return new ConfigError('CONFIG_INVALID', `httpRoutes: the path ${JSON.stringify(path)} ${problem}.`)
}
