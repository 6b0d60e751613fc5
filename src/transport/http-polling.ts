import { hash } from 'node:crypto'
import { askProvider } from '../auth/ask-provider.ts'
import type { AuthProvider } from '../auth/provider.ts'
import { hasEnded } from '../auth/token-end.ts'
import type { Logger } from '../core/logger.ts'
import { addTo, removeFrom } from '../core/map-of-sets.ts'
import type { Runtime } from '../core/runtime.ts'
import type { Frame } from '../protocol/frame.ts'
import { EarlyPolls } from './early-polls.ts'
import { EndedClients } from './ended-clients.ts'
import {
  type HttpSyncRequest,
  type HttpSyncResponse,
  NO_SESSION,
  refusal,
  SESSION_ENDED,
  SESSION_OVERLOADED,
  TOKEN_REFUSED,
  TOKEN_UNCHECKED,
  tooLarge,
} from './http-sync.ts'
import { isHandshake } from './is-handshake.ts'
import {
  isSameUser,
  isTrusted,
  type Owner,
  type PollingClient,
  trustAgain,
  trustToken,
} from './polling-client.ts'
import { PollingTransport } from './polling-transport.ts'
import { PostOrder } from './post-order.ts'

/** How many bytes of a body are read, and the answer to a larger one. */
export interface BodyLimit {
  readonly maxBytes: number
  readonly refusal: HttpSyncResponse
}

export interface HttpPollingOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly auth: AuthProvider
  readonly connect: (transport: PollingTransport) => string
  /** The user who opened a session; null before its handshake is accepted. */
  readonly ownerOf: (sessionId: string) => Owner | null
  /** Bytes of one message. */
  readonly maxMessageBytes: number
  /** Bytes of a handshake, which is all that a stranger may post. */
  readonly maxHandshakeBytes: number
  /** Polling clients with a session at once; 0 = unlimited. */
  readonly maxClients: number
  /** ms that a poll is held while there is nothing to send. Default 10000. */
  readonly holdMs?: number
}

const DEFAULT_HOLD_MS = 10_000
/** How long a poll under an id without a session is held; after two of them the client learns that it has none. */
const HANDSHAKE_HOLD_MS = 3_000
/** A client that has not polled for this long is gone: HTTP does not report a disconnect. */
const EXPIRE_AFTER_MS = 60_000
/**
 * The same for a client whose handshake was refused: it polls only for the answer to that, and a stranger for
 * nothing else.
 */
const REFUSED_EXPIRE_AFTER_MS = 10_000

/**
 * Why a request was not admitted: none of the sessions under its id belongs to its sender ('unknown'), its token is
 * refused, or its token could not be judged ('failed').
 */
type Stranger = 'unknown' | 'refused' | 'failed'

/** The session that a request belongs to, or why it was not admitted. */
export type Sender = PollingTransport | Stranger

const ANSWERS: { readonly [stranger in Stranger]: HttpSyncResponse } = {
  unknown: NO_SESSION,
  refused: TOKEN_REFUSED,
  failed: TOKEN_UNCHECKED,
}

/**
 * Sync over plain HTTP: each POST carries one message to the server, each GET takes one away. The
 * session behind it is the same as behind a WebSocket.
 *
 * @see docs/protocol.md, "HTTP polling"
 */
export class HttpPolling {
  readonly #options: HttpPollingOptions
  /** Several under one id where another client uses it too, by chance or to do harm. */
  readonly #clientsById = new Map<string, Set<PollingClient>>()
  #clientCount = 0
  #requests = 0
  readonly #ended = new EndedClients<PollingClient>()
  readonly #early: EarlyPolls

  constructor(options: HttpPollingOptions) {
    this.#options = options
    this.#early = new EarlyPolls(options.runtime)
  }

  /** @param arrival number of the request, if something was awaited since it came. @see nextArrival */
  async handle(request: HttpSyncRequest, arrival = this.nextArrival()): Promise<HttpSyncResponse> {
    const { clientId, method } = request
    // Checked because the application calls this too, perhaps from untyped code.
    if (typeof clientId !== 'string' || clientId === '')
      return refusal(400, 'The request names no client: add ?client=<uuid> to the URL.')
    switch (method) {
      case 'POST':
        return this.#post(request, arrival)
      case 'GET':
        return this.#poll(request)
      default:
        return { ...refusal(405, 'Use GET or POST.'), headers: { allow: 'GET, POST' } }
    }
  }

  /** Numbers requests in the order in which they come. */
  nextArrival(): number {
    return ++this.#requests
  }

  /** Finds the session that sends a request. It may have ended, and the token may no longer be valid. */
  async senderOf(request: { readonly clientId: string; readonly token: string }): Promise<Sender> {
    const tokenHash = hashOf(request.token)
    const known = this.#clientsOf(request.clientId).find((client) => client.tokenHash === tokenHash)
    return toSender(known ?? (await this.#find(request)))
  }

  /**
   * How much of a POST is read: for anything but a connected session that is not overloaded, at most the size of a
   * handshake.
   */
  bodyLimit(sender: Sender): BodyLimit {
    const maxBytes = this.#maxHandshakeBytes
    if (sender === 'unknown') return { maxBytes, refusal: tooLarge(maxBytes) } // may be a handshake
    if (typeof sender === 'string') return { maxBytes, refusal: ANSWERS[sender] }
    if (!sender.isConnected()) return { maxBytes, refusal: SESSION_ENDED }
    if (sender.isOverloaded) return { maxBytes, refusal: SESSION_OVERLOADED }
    const { maxMessageBytes } = this.#options
    return { maxBytes: maxMessageBytes, refusal: tooLarge(maxMessageBytes) }
  }

  stop(): void {
    this.#early.stop()
    for (const clients of this.#clientsById.values()) for (const client of clients) this.#drop(client)
  }

  async #post(request: HttpSyncRequest, arrival: number): Promise<HttpSyncResponse> {
    const bytes =
      typeof request.body === 'string' ? Buffer.from(request.body) : (request.body ?? new Uint8Array())
    // Checked because the application calls this too, and its framework may have parsed the body.
    if (!(bytes instanceof Uint8Array)) return refusal(400, 'The body must be the message as text or bytes.')
    if (bytes.byteLength === 0) return refusal(400, 'A POST needs a message as its body.')
    const isBinary = request.contentType?.includes('application/x-protobuf') === true
    if (isHandshake(bytes, isBinary, this.#maxHandshakeBytes))
      return this.#begin(request, arrival, { bytes, isBinary })
    const client = await this.#find(request)
    const limit = this.bodyLimit(toSender(client))
    if (bytes.byteLength > limit.maxBytes) return limit.refusal
    if (!isClient(client)) return ANSWERS[client]
    if (!client.transport.isConnected()) return SESSION_ENDED
    // A client waits for the answer to its handshake, so this was sent earlier, within a session that is gone.
    if (arrival <= client.admittedAfter) return refusal(410, 'The session that this is of has ended.')
    if (client.transport.isOverloaded) return SESSION_OVERLOADED
    this.#touch(client)
    client.order?.accept({ bytes, isBinary })
    return { status: 202 }
  }

  /**
   * Starts a session for a handshake. HTTP does not report a disconnect, so the client's old session may still be
   * here. It ends at once if the token shows that it is the client's; otherwise when the new session is admitted
   * and has the same user. So knowing an id is not enough to end someone's session.
   */
  async #begin(request: HttpSyncRequest, arrival: number, frame: Frame): Promise<HttpSyncResponse> {
    const found = await this.#oldSessionsOf(request)
    const replaced = found.filter((client) => client.arrival < arrival) // others may have come during the check
    for (const client of replaced) this.#drop(client)
    const { maxClients } = this.#options
    if (maxClients > 0 && this.#clientCount - this.#ended.size >= maxClients) {
      return refusal(429, 'Too many clients are connected; try again later.')
    }
    const client = this.#open(request, arrival)
    for (const predecessor of replaced) predecessor.successor = client
    client.order?.accept(frame)
    this.#early.wake(client.id)
    return { status: 202 }
  }

  #open(request: HttpSyncRequest, arrival: number): PollingClient {
    const { runtime } = this.#options
    const transport = new PollingTransport(runtime, request.remoteAddress)
    const sessionId = this.#options.connect(transport)
    const order = new PostOrder(
      runtime,
      (message) => transport.receive(message),
      () => transport.missMessages(),
    )
    const client: PollingClient = {
      id: request.clientId,
      arrival,
      admittedAfter: Number.POSITIVE_INFINITY,
      transport,
      order,
      sessionId,
      expiry: null,
      owner: null,
      tokenHash: request.token === undefined ? null : hashOf(request.token),
      checkedUntil: 0,
      tokenEndsAt: 0,
      successor: null,
    }
    addTo(this.#clientsById, client.id, client)
    this.#clientCount++
    transport.onAdmitted(() => this.#onAdmitted(client))
    this.#touch(client)
    transport.onEnded(() => this.#onEnded(client))
    return client
  }

  /** The client's own sessions: those with its token or, where the token is new, those of its user. */
  async #oldSessionsOf(request: HttpSyncRequest): Promise<readonly PollingClient[]> {
    const { clientId, token } = request
    const clients = this.#clientsOf(clientId)
    if (token === undefined) return clients
    const tokenHash = hashOf(token)
    const own = clients.filter((client) => client.tokenHash === tokenHash)
    if (own.length > 0) return own
    const found = await this.#find(request)
    return isClient(found) ? [found] : []
  }

  /**
   * Ends earlier sessions of the same user, who may have returned with a token known only from the handshake, or
   * one that could not be checked before. The session of the newest handshake stays, even if an earlier one takes
   * longer to be admitted.
   */
  #onAdmitted(client: PollingClient): void {
    client.owner = this.#options.ownerOf(client.sessionId)
    client.admittedAfter = this.#requests
    const ofUser = this.#clientsOf(client.id).filter(({ owner }) => isSameUser(owner, client.owner))
    const [newest, ...older] = ofUser
    for (const predecessor of older) {
      predecessor.successor = newest ?? null
      this.#drop(predecessor)
    }
    this.#early.wake(client.id)
  }

  /** Keeps what an ended client can still be told, for a time and up to a bound. */
  #onEnded(client: PollingClient): void {
    client.order?.stop()
    client.order = null
    this.#touch(client)
    for (const oldest of this.#ended.add(client, client.transport.bufferedBytes)) this.#drop(oldest)
  }

  async #poll(request: HttpSyncRequest): Promise<HttpSyncResponse> {
    const { runtime } = this.#options
    const endsAt = runtime.monotonicNow() + Math.min(this.#holdMs, HANDSHAKE_HOLD_MS)
    const isFirst = !this.#early.wasTold(request.clientId)
    for (;;) {
      const client = await this.#find(request)
      if (isClient(client)) return this.#take(request, client)
      if (client !== 'unknown') return ANSWERS[client]
      const leftMs = endsAt - runtime.monotonicNow()
      if (leftMs <= 0) return this.#tellOfNone(request.clientId, isFirst)
      const handshake = this.#early.wait(request.clientId, leftMs, request.signal)
      if (handshake === null) return { status: 204 }
      await handshake
    }
  }

  /**
   * Answers a poll without a session. Kora clients take 410 as the end of their connection, so the first poll gets
   * 204: a handshake may be about to follow.
   */
  #tellOfNone(clientId: string, isFirst: boolean): HttpSyncResponse {
    if (isFirst) {
      this.#early.noteTold(clientId)
      return { status: 204 }
    }
    this.#early.forgetTold(clientId)
    return NO_SESSION
  }

  get #maxHandshakeBytes(): number {
    return Math.min(this.#options.maxHandshakeBytes, this.#options.maxMessageBytes)
  }

  get #holdMs(): number {
    return this.#options.holdMs ?? DEFAULT_HOLD_MS
  }

  async #take(request: HttpSyncRequest, client: PollingClient): Promise<HttpSyncResponse> {
    this.#touch(client)
    const { transport } = client
    const taking = transport.take(this.#holdMs, request.ifNoneMatch, request.signal)
    const number = transport.polls
    const next = await taking
    this.#touch(client) // from the answer on: a hidden page polls once a minute, and its poll was held for part of it
    if (next === 'not-modified') return { status: 304 }
    const onBroken = (answer: 'unsent' | 'sent'): void =>
      transport.onBroken(number, answer === 'unsent' ? next : null)
    if (next !== null) {
      const contentType = next.frame.isBinary ? 'application/x-protobuf' : 'application/json'
      const headers = { 'content-type': contentType, etag: next.etag, 'cache-control': 'no-store' }
      return { status: 200, body: next.frame.bytes, headers, onBroken }
    }
    if (!transport.isOver) return { status: 204, onBroken }
    // The first poll of a returning Kora client precedes its handshake, so it is meant for the new session.
    if (client.successor !== null) return this.#take(request, client.successor)
    this.#drop(client)
    return SESSION_ENDED
  }

  /**
   * Finds the session for a request. Knowing the client id is not enough: the sender must be the user who opened
   * the session or, until that user is known, have the very token of the handshake.
   */
  async #find({
    clientId,
    token,
  }: Pick<HttpSyncRequest, 'clientId' | 'token'>): Promise<PollingClient | Stranger> {
    const clients = this.#clientsOf(clientId)
    if (token === undefined) return clients[0] ?? 'unknown'
    const tokenHash = hashOf(token)
    const { runtime } = this.#options
    const known = clients.find(
      (client) => client.tokenHash === tokenHash && (client.owner === null || isTrusted(client, runtime)),
    )
    if (known !== undefined) return known
    if (clients.every(({ owner }) => owner === null)) return 'unknown'
    return this.#check(clientId, token)
  }

  /** Has the token checked, and finds the session of its user. */
  async #check(clientId: string, token: string): Promise<PollingClient | Stranger> {
    const { runtime, auth, logger } = this.#options
    const context = await askProvider(auth, token, logger)
    const tokenHash = hashOf(token)
    const clients = this.#clientsOf(clientId)
    const withToken = clients.filter((client) => client.tokenHash === tokenHash)
    if (context === 'failed' || context === 'unavailable') return trustAgain(withToken, runtime) ?? 'failed'
    for (const client of withToken) client.tokenEndsAt = 0
    if (context === 'refused') return 'refused'
    if (hasEnded(context, runtime.now())) return 'refused'
    const own = clients.find(({ owner }) => isSameUser(owner, context))
    if (own === undefined) return 'unknown' // another user of the same page may not have sent a handshake yet
    own.tokenHash = tokenHash
    own.tokenEndsAt = context.expiresAt ?? Number.POSITIVE_INFINITY
    trustToken(own, runtime)
    return own
  }

  /** The sessions under an id, the newest first. */
  #clientsOf(clientId: string): PollingClient[] {
    return [...(this.#clientsById.get(clientId) ?? [])].sort((a, b) => b.arrival - a.arrival)
  }

  #touch(client: PollingClient): void {
    if (this.#clientsById.get(client.id)?.has(client) !== true) return // it was dropped while its poll was held
    client.expiry?.cancel()
    const isRefused = client.owner === null && !client.transport.isConnected()
    const expireAfterMs = isRefused ? REFUSED_EXPIRE_AFTER_MS : EXPIRE_AFTER_MS
    client.expiry = this.#options.runtime.setTimer(expireAfterMs, () => this.#drop(client))
  }

  #drop(client: PollingClient): void {
    if (this.#clientsById.get(client.id)?.has(client) === true) this.#clientCount--
    removeFrom(this.#clientsById, client.id, client)
    this.#ended.delete(client)
    client.expiry?.cancel()
    client.order?.stop()
    client.transport.disconnect()
  }
}

function isClient(found: PollingClient | Stranger): found is PollingClient {
  return typeof found === 'object'
}

/** Hides a session without an owner: before its handshake is accepted it belongs to no user. */
function toSender(found: PollingClient | Stranger): Sender {
  if (!isClient(found)) return found
  return found.owner === null ? 'unknown' : found.transport
}

function hashOf(token: string): string {
  return hash('sha256', token, 'base64url')
}
