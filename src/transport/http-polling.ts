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

/** How many bytes of a body are read, and what is answered to one that has more. */
export interface BodyLimit {
  readonly maxBytes: number
  readonly refusal: HttpSyncResponse
}

export interface HttpPollingOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly auth: AuthProvider
  readonly connect: (transport: PollingTransport) => string
  /** Who opened a session; null before its handshake is accepted. */
  readonly ownerOf: (sessionId: string) => Owner | null
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
/** A poll under an id without a session is held no longer than this: after two of them its client learns that it has none. */
const HANDSHAKE_HOLD_MS = 3_000
/** A client that has not asked for anything for this long is gone: HTTP tells of no disconnect. */
const EXPIRE_AFTER_MS = 60_000
/** One whose handshake was refused waits for the answer to it; a stranger has nothing else to hear. */
const REFUSED_EXPIRE_AFTER_MS = 10_000

/**
 * Where no session is of whoever asks, though there may be somebody else's under the id; the token is refused; or it
 * could not be judged.
 */
type Stranger = 'unknown' | 'refused' | 'failed'

/** The session that a request is of, where it was admitted. */
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
  /** More than one where somebody else uses the id, by chance or to do harm. */
  readonly #clientsById = new Map<string, Set<PollingClient>>()
  #clientCount = 0
  #requests = 0
  readonly #ended = new EndedClients<PollingClient>()
  readonly #early: EarlyPolls

  constructor(options: HttpPollingOptions) {
    this.#options = options
    this.#early = new EarlyPolls(options.runtime)
  }

  /** @param arrival of the request, where it has waited for something since it came. @see nextArrival */
  async handle(request: HttpSyncRequest, arrival = this.nextArrival()): Promise<HttpSyncResponse> {
    const { clientId, method } = request
    // The application calls this, too, and it need not be checked by a compiler.
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

  /** Number of the request that comes now, which tells in which order requests have come. */
  nextArrival(): number {
    return ++this.#requests
  }

  /**
   * Finds who sends a request. The session that it is of may have ended, and the token may not be good any
   * more.
   */
  async senderOf(request: { readonly clientId: string; readonly token: string }): Promise<Sender> {
    const tokenHash = hashOf(request.token)
    const known = this.#clientsOf(request.clientId).find((client) => client.tokenHash === tokenHash)
    return toSender(known ?? (await this.#find(request)))
  }

  /** How much is read of a POST: of all but a session that takes messages it can be a handshake at most. */
  bodyLimit(sender: Sender): BodyLimit {
    const maxBytes = this.#maxHandshakeBytes
    if (sender === 'unknown') return { maxBytes, refusal: tooLarge(maxBytes) } // a handshake, perhaps
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
    // The application calls this, too: a framework may have parsed the body.
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
    // A client waits for the answer to its handshake: this was sent before it, within a session that is gone.
    if (arrival <= client.admittedAfter) return refusal(410, 'The session that this is of has ended.')
    if (client.transport.isOverloaded) return SESSION_OVERLOADED
    this.#touch(client)
    client.order?.accept({ bytes, isBinary })
    return { status: 202 }
  }

  /**
   * A handshake starts over: HTTP knows no disconnect, so the client's old session may still be here. It ends at once
   * where it is known by the token to be the client's, else when the new one is admitted and of the same user: whoever
   * knows no more than the id ends nobody's session.
   */
  async #begin(request: HttpSyncRequest, arrival: number, frame: Frame): Promise<HttpSyncResponse> {
    const found = await this.#oldSessionsOf(request)
    const replaced = found.filter((client) => client.arrival < arrival) // others may have come while its token was checked
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

  /** Sessions that are the client's own: by the token or, where that is a new one, by its user. */
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
   * Its user may have come back with a token in the handshake alone, or one that could not be checked before. The newest
   * handshake of a user goes on, also where one before it takes longer to be admitted.
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

  /** Keeps of a client what it can still be told when its session has ended, for a time and up to a bound. */
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

  /** The public clients take 410 for the end of their connection: one that may be about to shake hands is not told it. */
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
    this.#touch(client) // from the answer on: a hidden page asks once a minute, and the poll was held for a part of it
    if (next === 'not-modified') return { status: 304 }
    const onBroken = (answer: 'unsent' | 'sent'): void =>
      transport.onBroken(number, answer === 'unsent' ? next : null)
    if (next !== null) {
      const contentType = next.frame.isBinary ? 'application/x-protobuf' : 'application/json'
      const headers = { 'content-type': contentType, etag: next.etag, 'cache-control': 'no-store' }
      return { status: 200, body: next.frame.bytes, headers, onBroken }
    }
    if (!transport.isOver) return { status: 204, onBroken }
    // The first poll of a Kora client that comes back precedes its handshake: it is for the new session.
    if (client.successor !== null) return this.#take(request, client.successor)
    this.#drop(client)
    return SESSION_ENDED
  }

  /**
   * Knowing a client id is not enough: whoever uses a session must be the user who opened it, and until that is known
   * have the very token of the handshake.
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

  /** Asks whose the token is. */
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
    if (own === undefined) return 'unknown' // another user of the same page may not have shaken hands yet
    own.tokenHash = tokenHash
    own.tokenEndsAt = context.expiresAt ?? Number.POSITIVE_INFINITY
    trustToken(own, runtime)
    return own
  }

  /** The newest first. */
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

/** A session is nobody's before its handshake is accepted. */
function toSender(found: PollingClient | Stranger): Sender {
  if (!isClient(found)) return found
  return found.owner === null ? 'unknown' : found.transport
}

function hashOf(token: string): string {
  return hash('sha256', token, 'base64url')
}
