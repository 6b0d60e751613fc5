import { createHash } from 'node:crypto'
import type { AuthContext, AuthProvider } from '../auth/provider.ts'
import { askProvider } from '../auth/user-callback.ts'
import type { Logger } from '../core/logger.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import { HANDSHAKE_DECODE_LIMITS } from '../protocol/codec.ts'
import { readMessageType } from '../protocol/json-codec.ts'
import { EndedClients } from './ended-clients.ts'
import { PollingTransport } from './polling-transport.ts'
import { PostOrder } from './post-order.ts'

/** One request of the HTTP form of the protocol. A POST brings one message, a GET takes one away. */
export interface HttpSyncRequest {
  /** Tells clients apart: unguessable, chosen by the client or by the server's cookie. */
  readonly clientId: string
  readonly method: 'GET' | 'POST'
  /** The message of a POST. */
  readonly body?: string | Uint8Array
  /** Of the body: `application/x-protobuf` for protobuf, else it is taken for JSON. */
  readonly contentType?: string
  /** The `If-None-Match` header: the `ETag` of the message that the client has read. */
  readonly ifNoneMatch?: string
  /**
   * The bearer token, '' for none. It must be of the user who opened the session. Absent: whoever
   * calls has checked that by itself.
   */
  readonly token?: string
  /** For the log, and for `maxConnectionsPerAddress`. */
  readonly remoteAddress?: string
  /** Aborted when the connection of the request closes: nothing is answered on it any more. */
  readonly signal?: AbortSignal
}

/** What is to be answered to an `HttpSyncRequest`. */
export interface HttpSyncResponse {
  readonly status: 200 | 202 | 204 | 304 | 400 | 401 | 405 | 410 | 413 | 429
  readonly body?: string | Uint8Array
  readonly headers?: { readonly [name: string]: string }
  /**
   * To be called when the connection breaks before all of the answer has left (`'unsent'`), or after that and
   * before another request has come on it (`'sent'`). What was not sent is kept for the next poll.
   */
  readonly onBroken?: (answer: 'unsent' | 'sent') => void
}

export interface HttpPollingOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly auth: AuthProvider
  readonly connect: (transport: PollingTransport) => string
  /** Who opened a session; null before its handshake is accepted. */
  readonly ownerOf: (sessionId: string) => Pick<AuthContext, 'userId' | 'isAnonymous'> | null
  /** Bytes of one message. */
  readonly maxMessageBytes: number
  /** Bytes of a handshake: what a stranger may post. */
  readonly maxHandshakeBytes: number
  /** Polling clients with a session at once; 0 = unlimited. */
  readonly maxClients: number
  /** ms that a poll is held while there is nothing to say. Default 10000. */
  readonly holdMs?: number
}

const DEFAULT_HOLD_MS = 10_000
/** A client that has not asked for anything for this long is gone: HTTP tells of no disconnect. */
const EXPIRE_AFTER_MS = 60_000
/** One whose handshake was refused waits for the answer to it; a stranger has nothing else to hear. */
const REFUSED_EXPIRE_AFTER_MS = 10_000
/** How long a checked token need not be checked again, unless it says itself that it ends before. */
const TOKEN_CHECK_MS = 30_000

interface PollingClient {
  readonly transport: PollingTransport
  /** null when the session has ended: nothing more is put in order. */
  order: PostOrder | null
  readonly sessionId: string
  expiry: Timer | null
  /** Who opened it; null before the handshake is accepted. Kept when the session has ended. */
  owner: ReturnType<HttpPollingOptions['ownerOf']>
  /** Hash of the token that was found to be of the session's user, and until when that holds. */
  checked: { tokenHash: string; until: number } | null
}

/**
 * Sync over plain HTTP: each POST carries one message to the server, each GET takes one away. The
 * session behind it is the same as behind a WebSocket.
 *
 * @see docs/protocol.md, "HTTP polling"
 */
export class HttpPolling {
  readonly #options: HttpPollingOptions
  readonly #clients = new Map<string, PollingClient>()
  readonly #ended = new EndedClients()

  constructor(options: HttpPollingOptions) {
    this.#options = options
  }

  async handle(request: HttpSyncRequest): Promise<HttpSyncResponse> {
    if (request.clientId === '')
      return refusal(400, 'The request names no client: add ?client=<uuid> to the URL.')
    const client = this.#clients.get(request.clientId)
    switch (request.method) {
      case 'POST':
        return this.#post(request, client)
      case 'GET':
        return this.#poll(request, client)
      default:
        return { ...refusal(405, 'Use GET or POST.'), headers: { allow: 'GET, POST' } }
    }
  }

  /** Bytes of a body of this client: those of a full message once its session is admitted. */
  maxBodyBytes(clientId: string): number {
    const { maxMessageBytes, maxHandshakeBytes } = this.#options
    const isAdmitted = (this.#clients.get(clientId)?.owner ?? null) !== null
    return isAdmitted ? maxMessageBytes : Math.min(maxHandshakeBytes, maxMessageBytes)
  }

  stop(): void {
    for (const [clientId] of this.#clients) this.#forget(clientId)
  }

  async #post(request: HttpSyncRequest, client: PollingClient | undefined): Promise<HttpSyncResponse> {
    const bytes = typeof request.body === 'string' ? Buffer.from(request.body) : request.body
    if (bytes === undefined || bytes.byteLength === 0)
      return refusal(400, 'A POST needs a message as its body.')
    const maxBytes = this.maxBodyBytes(request.clientId)
    if (bytes.byteLength > maxBytes) return tooLarge(maxBytes)
    const isBinary = request.contentType?.includes('application/x-protobuf') === true
    if (isHandshake(bytes, isBinary, this.#options.maxHandshakeBytes))
      return this.#open(request, { bytes, isBinary })
    if (client === undefined) return refusal(410, 'There is no session: start with a handshake.')
    if (!(await this.#isOwner(request, client))) return refusal(401, 'The token is not that of this session.')
    if (!client.transport.isConnected()) return refusal(410, 'The session has ended: start with a handshake.')
    // A client waits for the answer to its handshake: this was sent before it, within a session that is gone.
    if (client.owner === null) return refusal(410, 'The session that this is of has ended.')
    if (client.transport.isOverloaded) return refusal(429, 'Messages arrive faster than they are processed.')
    this.#touch(request.clientId, client)
    client.order?.accept({ bytes, isBinary })
    return { status: 202 }
  }

  /** A handshake starts over: HTTP knows no disconnect, so the client's old session may still be here. */
  #open(request: HttpSyncRequest, frame: { bytes: Uint8Array; isBinary: boolean }): HttpSyncResponse {
    const { maxClients, runtime } = this.#options
    this.#forget(request.clientId)
    if (maxClients > 0 && this.#clients.size - this.#ended.size >= maxClients) {
      return refusal(429, 'Too many clients are connected; try again later.')
    }
    const transport = new PollingTransport(runtime, request.remoteAddress)
    const sessionId = this.#options.connect(transport)
    const order = new PostOrder(
      runtime,
      (message) => transport.receive(message),
      () => transport.missMessages(),
    )
    const client: PollingClient = { transport, order, sessionId, expiry: null, owner: null, checked: null }
    transport.onAdmitted(() => {
      client.owner = this.#options.ownerOf(sessionId)
    })
    this.#clients.set(request.clientId, client)
    this.#touch(request.clientId, client)
    transport.onEnded(() => this.#onEnded(request.clientId, client))
    order.accept(frame)
    return { status: 202 }
  }

  /** What is left of it is what it can still be told, for a time and up to a bound. */
  #onEnded(clientId: string, client: PollingClient): void {
    client.order?.stop()
    client.order = null
    this.#touch(clientId, client)
    for (const oldest of this.#ended.add(clientId, client.transport.bufferedBytes)) this.#forget(oldest)
  }

  async #poll(request: HttpSyncRequest, client: PollingClient | undefined): Promise<HttpSyncResponse> {
    // The first poll of a Kora client precedes its handshake.
    if (client === undefined) return { status: 204 }
    if (!(await this.#isOwner(request, client))) return refusal(401, 'The token is not that of this session.')
    this.#touch(request.clientId, client)
    const holdMs = this.#options.holdMs ?? DEFAULT_HOLD_MS
    const { transport } = client
    const taking = transport.take(holdMs, request.ifNoneMatch, request.signal)
    const number = transport.polls
    const next = await taking
    if (next === 'not-modified') return { status: 304 }
    const onBroken = (answer: 'unsent' | 'sent'): void =>
      transport.onBroken(number, answer === 'unsent' ? next : null)
    if (next !== null) {
      const contentType = next.frame.isBinary ? 'application/x-protobuf' : 'application/json'
      const headers = { 'content-type': contentType, etag: next.etag, 'cache-control': 'no-store' }
      return { status: 200, body: next.frame.bytes, headers, onBroken }
    }
    if (!transport.isOver) return { status: 204, onBroken }
    const present = this.#clients.get(request.clientId)
    // The first poll of a Kora client that comes back precedes its handshake: it is for the new session.
    if (present !== undefined && present !== client) return this.#poll(request, present)
    this.#forget(request.clientId)
    return refusal(410, 'The session has ended: start with a handshake.')
  }

  /** Knowing a client id is not enough: whoever uses a session must be the user who opened it. */
  async #isOwner(request: HttpSyncRequest, client: PollingClient): Promise<boolean> {
    const { owner } = client
    if (owner === null || request.token === undefined) return true
    const { runtime, auth, logger } = this.#options
    const tokenHash = createHash('sha256').update(request.token).digest('hex')
    if (client.checked?.tokenHash === tokenHash && runtime.now() < client.checked.until) return true
    const context = await askProvider(auth, request.token, logger)
    const now = runtime.now()
    const { expiresAt = Number.POSITIVE_INFINITY } = context ?? {}
    if (context === null || expiresAt <= now) return false
    const areAnonymous = context.isAnonymous === true && owner.isAnonymous === true
    if (context.userId !== owner.userId && !areAnonymous) return false
    client.checked = { tokenHash, until: Math.min(now + TOKEN_CHECK_MS, expiresAt) }
    return true
  }

  #touch(clientId: string, client: PollingClient): void {
    client.expiry?.cancel()
    const isRefused = client.owner === null && !client.transport.isConnected()
    const expireAfterMs = isRefused ? REFUSED_EXPIRE_AFTER_MS : EXPIRE_AFTER_MS
    client.expiry = this.#options.runtime.setTimer(expireAfterMs, () => {
      if (this.#clients.get(clientId) === client) this.#forget(clientId)
    })
  }

  #forget(clientId: string): void {
    const client = this.#clients.get(clientId)
    if (client === undefined) return
    this.#clients.delete(clientId)
    this.#ended.delete(clientId)
    client.expiry?.cancel()
    client.order?.stop()
    client.transport.disconnect()
  }
}

function refusal(status: HttpSyncResponse['status'], error: string): HttpSyncResponse {
  return { status, body: JSON.stringify({ error }), headers: { 'content-type': 'application/json' } }
}

function tooLarge(maxBytes: number): HttpSyncResponse {
  return refusal(413, `The message is larger than ${maxBytes} bytes.`)
}

/**
 * A body that cannot be read, or is larger than a handshake may be, is none: the session it is for says
 * what is wrong with it.
 */
function isHandshake(bytes: Uint8Array, isBinary: boolean, maxBytes: number): boolean {
  if (bytes.byteLength > maxBytes) return false
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (isBinary) return buffer.subarray(0, PROTOBUF_HANDSHAKE.length).equals(PROTOBUF_HANDSHAKE)
  // Parsed only where it may be one: every other message is parsed once, by its session.
  if (!buffer.includes('"handshake"')) return false
  try {
    return readMessageType(buffer.toString('utf8'), HANDSHAKE_DECODE_LIMITS) === 'handshake'
  } catch {
    return false
  }
}

/** Field 1, `type`, which is written first: tag, length, text. */
const PROTOBUF_HANDSHAKE = Buffer.from('\x0a\x09handshake', 'latin1')
