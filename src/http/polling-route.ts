import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { LOG_EVENTS, type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import type { HttpPolling } from '../transport/http-polling.ts'
import type { HttpSyncResponse } from '../transport/http-sync.ts'
import { answerJson } from './answer-json.ts'
import { bearerToken } from './bearer-token.ts'
import { readBody } from './read-body.ts'
import type { SessionBodies } from './session-bodies.ts'
import type { StrangerBodies } from './stranger-bodies.ts'
import type { UnfinishedBodies } from './unfinished-bodies.ts'

export interface PollingRouteOptions {
  readonly polling: HttpPolling
  /** Exact origins of browsers that may connect; null: any. */
  readonly allowedOrigins: readonly string[] | null
  readonly addressOf: (request: IncomingMessage) => string
  readonly strangerBodies: StrangerBodies
  readonly sessionBodies: SessionBodies
  /** ms from the headers of a request to the last byte of its body, where no session is known to be the client's. */
  readonly handshakeTimeoutMs: number
  readonly runtime: Runtime
  readonly logger: Logger
}

const CLIENT_COOKIE = 'kora-client'
const MAX_CLIENT_ID_LENGTH = 128

/** The HTTP form of the sync path. Never rejects. @see docs/protocol.md, "HTTP polling" */
export async function answerPolling(
  request: IncomingMessage,
  response: ServerResponse,
  options: PollingRouteOptions,
): Promise<void> {
  try {
    await answer(request, response, options)
  } catch (error) {
    if (request.destroyed || response.destroyed) return // the client is gone in the middle of it
    logEvent(options.logger, LOG_EVENTS.requestFailed, { err: error })
    if (response.headersSent) response.destroy()
    else answerJson(response, 500, { error: 'The server could not process the request.' })
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: PollingRouteOptions,
): Promise<void> {
  const latest = onBrokenBySocket.get(request.socket)
  if (latest !== undefined) latest.onBroken = null
  const { origin } = request.headers
  if (origin !== undefined && options.allowedOrigins !== null && !options.allowedOrigins.includes(origin)) {
    answerJson(response, 403, { error: 'This origin may not connect. See http.allowedOrigins.' })
    return
  }
  if (origin !== undefined) allowOrigin(response, origin)
  const { method } = request
  if (method === 'OPTIONS') {
    response.writeHead(204, { allow: 'GET, POST' }).end()
    return
  }
  if (method !== 'GET' && method !== 'POST') {
    response.setHeader('allow', 'GET, POST')
    answerJson(response, 405, { error: 'Use GET or POST, or connect over WebSocket.' })
    return
  }
  const knownId = clientIdOf(request)
  const clientId = knownId ?? issueClientId(response, options.runtime)
  if (knownId === null && method === 'GET') {
    response.writeHead(204).end() // no handshake can come under an id that its client does not know yet
    return
  }
  const token = bearerToken(request) ?? ''
  const { polling } = options
  const arrival = polling.nextArrival()
  const sender = method === 'POST' ? await polling.senderOf({ clientId, token }) : 'unknown'
  const { maxBytes, refusal } = polling.bodyLimit(sender)
  const goesOn = typeof sender === 'object' && sender.isConnected()
  const bodies = goesOn ? options.sessionBodies.of(sender) : null
  const body = method === 'POST' ? await readMessage(response, { bodies, maxBytes }, options) : undefined
  if (body === null) {
    send(response, refusal)
    return
  }
  const { 'content-type': contentType, 'if-none-match': ifNoneMatch } = request.headers
  const syncRequest = {
    clientId,
    method,
    token,
    remoteAddress: options.addressOf(request),
    signal: closingOf(response),
    ...(body !== undefined && { body }),
    ...(contentType !== undefined && { contentType }),
    ...(ifNoneMatch !== undefined && { ifNoneMatch }),
  } as const
  const release = bodies?.keep(response, body?.byteLength ?? 0)
  const result = await polling.handle(syncRequest, arrival).finally(release)
  tellWhenBroken(response, result.onBroken)
  send(response, result)
}

function send(response: ServerResponse, { status, headers, body }: HttpSyncResponse): void {
  response.writeHead(status, { ...headers }).end(body)
}

/**
 * @param bodies those of the session that it is of; null: of none that goes on
 * @returns null when it is larger than `maxBytes`
 */
function readMessage(
  response: ServerResponse,
  { bodies, maxBytes }: { bodies: UnfinishedBodies | null; maxBytes: number },
  options: PollingRouteOptions,
): Promise<Buffer | null> {
  if (bodies === null) return readOfStranger(response, maxBytes, options)
  bodies.begin(response) // the session may end before anything of it comes
  return readBody(response.req, maxBytes, (bytes) => bodies.count(response, bytes))
}

/** It has the time for a handshake that it would have over a WebSocket. */
async function readOfStranger(
  response: ServerResponse,
  maxBytes: number,
  { strangerBodies, handshakeTimeoutMs, runtime }: PollingRouteOptions,
): Promise<Buffer | null> {
  const { req: request } = response
  const timer = runtime.setTimer(handshakeTimeoutMs, () => request.destroy())
  try {
    return await readBody(request, maxBytes, (bytes) => strangerBodies.count(response, bytes))
  } finally {
    timer.cancel()
  }
}

function closingOf(response: ServerResponse): AbortSignal {
  const closing = new AbortController()
  response.on('close', () => closing.abort())
  return closing.signal
}

type OnBroken = NonNullable<HttpSyncResponse['onBroken']>

/** Of connections that stay open: who is told when one closes and nothing has come on it since. */
const onBrokenBySocket = new WeakMap<Socket, { onBroken: OnBroken | null }>()

function tellWhenBroken(response: ServerResponse, onBroken: OnBroken | undefined): void {
  const { socket } = response
  if (onBroken === undefined || socket === null) return
  response.on('close', () => {
    if (!response.writableFinished) onBroken('unsent')
    else if (response.shouldKeepAlive) tellWhenClosed(socket, onBroken)
  })
}

function tellWhenClosed(socket: Socket, onBroken: OnBroken): void {
  const known = onBrokenBySocket.get(socket)
  if (known !== undefined) {
    known.onBroken = onBroken
    return
  }
  const latest: { onBroken: OnBroken | null } = { onBroken }
  onBrokenBySocket.set(socket, latest)
  socket.once('close', () => latest.onBroken?.('sent'))
}

/** From the URL (`?client=<uuid>`), the header, or the cookie that an earlier answer has set. */
function clientIdOf(request: IncomingMessage): string | null {
  const query = new URLSearchParams(request.url?.split('?')[1] ?? '')
  const header = request.headers['x-kora-client-id']
  const clientId = query.get('client') || (typeof header === 'string' ? header : '') || cookieOf(request)
  return clientId && clientId.length <= MAX_CLIENT_ID_LENGTH ? clientId : null
}

function cookieOf(request: IncomingMessage): string | undefined {
  for (const pair of request.headers.cookie?.split(';') ?? []) {
    const [name, value] = pair.trim().split('=', 2)
    if (name === CLIENT_COOKIE) return value
  }
  return undefined
}

/** It tells clients apart and grants nothing: access is by the bearer token of each request. */
function issueClientId(response: ServerResponse, runtime: Runtime): string {
  const clientId = runtime.token(24)
  response.setHeader('set-cookie', `${CLIENT_COOKIE}=${clientId}; Path=/; HttpOnly; SameSite=Lax`)
  return clientId
}

/** Browsers on other origins may read the answers; credentials travel in a header, not in cookies. */
function allowOrigin(response: ServerResponse, origin: string): void {
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader(
    'access-control-allow-headers',
    'authorization, content-type, x-kora-client-id, if-none-match',
  )
  response.setHeader('access-control-expose-headers', 'etag')
  response.setHeader('vary', 'origin')
}
