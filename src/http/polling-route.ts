import type { IncomingMessage, ServerResponse } from 'node:http'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { isOriginAllowed, ORIGIN_REFUSED_TEXT } from '../transport/allowed-origin.ts'
import type { HttpSyncResponse } from '../transport/http-sync.ts'
import { answerJson } from './answer-json.ts'
import { bearerToken } from './bearer-token.ts'
import { noteRequest, tellWhenBroken } from './broken-answers.ts'
import { type PollingBodyOptions, readMessage } from './polling-body.ts'

export interface PollingRouteOptions extends PollingBodyOptions {
  /** Exact origins of browsers that may connect; null: any. */
  readonly allowedOrigins: readonly string[] | null
  readonly addressOf: (request: IncomingMessage) => string
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
    if (request.destroyed || response.destroyed) return // the client left before the end
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
  noteRequest(request.socket)
  if (answerWithoutSync(request, response, options)) return
  const method = request.method === 'POST' ? 'POST' : 'GET' // any other method has been answered by now
  const knownId = clientIdOf(request)
  const clientId = knownId ?? issueClientId(response, options.runtime)
  if (knownId === null && method === 'GET') {
    response.writeHead(204).end() // no handshake can follow under an id that the client does not know yet
    return
  }
  const token = bearerToken(request) ?? ''
  const { polling } = options
  const arrival = polling.nextArrival()
  const sender = method === 'POST' ? await polling.senderOf({ clientId, token }) : 'unknown'
  const { maxBytes, refusal } = polling.bodyLimit(sender)
  const session = typeof sender === 'object' && sender.isConnected() ? sender : null
  const body = method === 'POST' ? await readMessage(response, { session, maxBytes }, options) : undefined
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
  const release =
    session === null ? undefined : options.sessionBodies.of(session).keep(response, body?.byteLength ?? 0)
  const result = await polling.handle(syncRequest, arrival).finally(release)
  tellWhenBroken(response, result.onBroken)
  send(response, result)
}

/**
 * Answers requests that are not part of the protocol, or not allowed to be. @returns false for one that is to be
 * served
 */
function answerWithoutSync(
  { method, headers: { origin } }: IncomingMessage,
  response: ServerResponse,
  { allowedOrigins }: PollingRouteOptions,
): boolean {
  if (!isOriginAllowed(origin, allowedOrigins)) {
    answerJson(response, 403, { error: ORIGIN_REFUSED_TEXT })
    return true
  }
  if (origin !== undefined) allowOrigin(response, origin)
  if (method === 'GET' || method === 'POST') return false
  if (method === 'OPTIONS') {
    response.writeHead(204, { allow: 'GET, POST' }).end()
    return true
  }
  response.setHeader('allow', 'GET, POST')
  answerJson(response, 405, { error: 'Use GET or POST, or connect over WebSocket.' })
  return true
}

function send(response: ServerResponse, { status, headers, body }: HttpSyncResponse): void {
  response.writeHead(status, { ...headers }).end(body)
}

function closingOf(response: ServerResponse): AbortSignal {
  const closing = new AbortController()
  response.on('close', () => closing.abort())
  return closing.signal
}

/** Takes the id from the URL (`?client=<uuid>`), the header, or the cookie that an earlier answer has set. */
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

/** The id tells clients apart and grants nothing: access depends on the bearer token of each request. */
function issueClientId(response: ServerResponse, runtime: Runtime): string {
  const clientId = runtime.token(24)
  response.setHeader('set-cookie', `${CLIENT_COOKIE}=${clientId}; Path=/; HttpOnly; SameSite=Lax`)
  return clientId
}

/** Lets pages of other origins read the answers; credentials travel in a header, not in cookies. */
function allowOrigin(response: ServerResponse, origin: string): void {
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader(
    'access-control-allow-headers',
    'authorization, content-type, x-kora-client-id, if-none-match',
  )
  response.setHeader('access-control-expose-headers', 'etag')
  response.setHeader('vary', 'origin')
}
