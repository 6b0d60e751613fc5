import { assertNever, ProtocolError, StoreError } from '../../core/errors.ts'
import { type FieldsOf, LOG_EVENTS } from '../../core/log-events.ts'
import { logEvent } from '../../core/logger.ts'
import type { Timer } from '../../core/runtime.ts'
import {
  CONNECTION_ERRORS,
  type ConnectionErrorCode,
  closeOf,
  isPassing,
} from '../../protocol/connection-errors.ts'
import type { Frame } from '../../protocol/frame.ts'
import type { HandshakeMessage, ReceivedMessage, SyncMessage, WireFormat } from '../../protocol/messages.ts'
import type { DeliveryLag } from '../delivery/delivery.ts'
import type { AcceptedHandshake } from '../handshake/handshake.ts'
import type { HubSession, SyncHubContext } from '../hub/hub-context.ts'
import { Push } from '../ingest/push.ts'
import type { PushSession } from '../ingest/push-session.ts'
import { arrivedPushes } from '../relays/arrived-pushes.ts'
import type { RelayPeer } from '../relays/audiences.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { SessionEvent, SessionFields } from '../session-log.ts'
import type { SessionState } from '../session-state.ts'
import type { ServerTransport } from '../transport.ts'
import { ClientConnection, type ConnectionOwner } from './client-connection.ts'
import { reportFailure, type SessionFailure } from './failure-report.ts'
import { setLongTimer } from './long-timer.ts'
import { type MessageHandler, MessageLoop } from './message-loop.ts'
import { type DeliveredSession, SessionDelivery } from './session-delivery.ts'
import { answerHandshake, type HandshakingSession } from './session-handshake.ts'

/** One connected client. */
export class Session
  implements
    ConnectionOwner,
    MessageHandler,
    HandshakingSession,
    PushSession,
    DeliveredSession,
    RelayPeer,
    HubSession
{
  readonly id: string
  /** ms of the monotonic clock, because the wall clock may be set meanwhile */
  readonly connectedAt: number
  readonly #context: SyncHubContext
  readonly #connection: ClientConnection
  readonly #push: Push
  readonly #messages: MessageLoop
  #isReading = true
  #state: SessionState = 'connected'
  #identity: SessionIdentity | null = null
  #delivery: SessionDelivery | null = null
  #timer: Timer | null = null
  #messageCount = 0

  constructor(id: string, transport: ServerTransport, context: SyncHubContext) {
    this.id = id
    this.connectedAt = context.runtime.monotonicNow()
    this.#context = context
    this.#connection = new ClientConnection(this, transport, context.limits.maxBufferedBytes)
    this.#messages = new MessageLoop(this, this.#connection)
    this.#push = new Push(this, context)
  }

  /**
   * Starts to listen. The hub must know the session by now, because the transport may end it at once, by what it
   * reports or throws.
   *
   * @throws what the transport throws when the session begins to listen to it
   */
  begin(): void {
    const { runtime, limits } = this.#context
    this.log(LOG_EVENTS.sessionOpened, { remoteAddress: this.remoteAddress })
    this.#timer = runtime.setTimer(limits.handshakeTimeoutMs, () => this.fail('HANDSHAKE_TIMEOUT'))
    this.#connection.listen({
      onMessage: (message) => this.#receive(message),
      onClose: (code, reason) => this.#onClosed(code, reason),
      onError: (error) => this.log(LOG_EVENTS.transportFailed, { err: error }),
    })
  }

  get state(): SessionState {
    return this.#state
  }

  get format(): WireFormat {
    return this.#connection.format
  }

  get readsJson(): boolean {
    return this.#connection.readsJson
  }

  get mayLoseMessages(): boolean {
    return this.#connection.mayLoseMessages
  }

  get hasAllMessages(): boolean {
    return this.#connection.hasAllMessages
  }

  get remoteAddress(): string | undefined {
    return this.#connection.remoteAddress
  }

  get bufferedBytes(): number {
    return this.#connection.backlog.bytes
  }

  /** How far delivery is behind; null before the handshake and for clients without watermark. */
  get deliveryLag(): DeliveryLag | null {
    return this.#delivery?.lag ?? null
  }

  /** null before the handshake is accepted. */
  get identity(): SessionIdentity | null {
    return this.#identity
  }

  get isAccepted(): boolean {
    return this.#state === 'syncing' || this.#state === 'streaming'
  }

  /**
   * Logs an event with the id of this session. A child logger would add it too, but takes more memory than the rest
   * of an idle session.
   */
  log<Event extends SessionEvent>(event: Event, fields: SessionFields<Event>): void {
    const all = { sessionId: this.id, ...fields } as FieldsOf<Event> // which are those two together
    logEvent(this.#context.logger, event, all)
  }

  /** An id for a message of this connection; unique within it. */
  nextMessageId(): string {
    this.#messageCount++
    return `s-${this.#messageCount}`
  }

  send(message: SyncMessage): void {
    if (this.#state === 'closed' || !this.#connection.isConnected) return
    this.#connection.send(message)
    this.#boundBacklog()
  }

  /** Sends a JSON frame made for several sessions; false when this one's buffer is full and it was dropped. */
  sendShared(frame: Frame): boolean {
    if (!this.isAccepted || !this.canSend()) return false
    this.#connection.sendFrame(frame)
    return true
  }

  // ── delivery ───────────────────────────────────────────────────────────────────────────────

  canSend(): boolean {
    return !this.#connection.backlog.isFull
  }

  /** Has the hub check once a second that the client makes progress with what it is sent. */
  watchProgress(): void {
    this.#context.watchProgress(this)
  }

  onCaughtUp(): void {
    if (this.#state !== 'syncing') return
    this.#state = 'streaming'
    this.#context.relays.onStreaming(this)
  }

  /**
   * The once-a-second look at a session with unacknowledged batches or a full buffer.
   * @returns false when there is nothing left to watch
   */
  checkProgress(): boolean {
    if (this.#state === 'closed') return false
    const backlog = this.#connection.backlog.look(this.#context.runtime.monotonicNow())
    if (backlog.isStuck) {
      this.fail('SLOW_CONSUMER')
      return false
    }
    if (this.#delivery === null) return this.#connection.backlog.isBlocked
    // Its acknowledgments may be waiting here to be processed, so the client is not to blame for the silence.
    if (!this.#messages.isEmpty || backlog.hasShrunk) this.#delivery.excuse()
    return this.#delivery.checkProgress()
  }

  /**
   * Moves the watermark of a quiet client over entries that it may not see.
   * @returns false when that could not be done now
   */
  skipInvisibleTail(): boolean {
    return this.#state === 'streaming' && this.#delivery?.skipInvisibleTail() === true
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────
  //
  //             | called                                                | tells the client  | closes the socket
  // ------------|-------------------------------------------------------|-------------------|------------------
  // fail        | for a reason that the client has to know              | message `error`*  | yes
  // crash       | with an error that a part of the server has thrown    | through `fail`    | yes
  // endUnread   | where the client reads nothing                        | by the close code | yes
  // close       | where a message is not needed, or would not arrive    | by the close code | yes
  // closeWith   | by `close`; over a gap, which has no code of its own  | by the close code | yes
  // #onClosed   | by the transport: the connection is gone              | no                | it is closed
  // #end        | by `closeWith` and `#onClosed`: releases everything   | no                | no
  //
  // * unless the client would stay away after one, and may return

  /** Ends the session: tells the client why, then closes the connection. */
  fail(code: ConnectionErrorCode, detail?: string): void {
    if (this.#state === 'closed') return
    reportFailure(this, { code, detail }, this.#context)
    if (code === 'REVOKED') this.#withdraw()
    this.#tell({ code, detail })
    this.close(code)
  }

  /** True where the client does not return by itself after an `error` message. */
  get errorsAreFinal(): boolean {
    return this.#connection.errorsAreFinal
  }

  /** Sends the reason regardless of the backlog: nothing follows it. */
  #tell({ code, detail }: SessionFailure): void {
    if (!this.#connection.isConnected || (this.#connection.errorsAreFinal && isPassing(code))) return
    const { message, retriable } = CONNECTION_ERRORS[code]
    const text = detail === undefined ? message : `${message}: ${detail}`
    this.#connection.send({ type: 'error', messageId: this.nextMessageId(), code, message: text, retriable })
  }

  /** Ends the session of a client that does not read, without a message, which it would not read either. */
  endUnread(): void {
    if (this.#state === 'closed') return
    reportFailure(this, { code: 'SLOW_CONSUMER' }, this.#context)
    this.close('SLOW_CONSUMER')
  }

  /** Closes the connection with the code's close code, without an `error` message. */
  close(code: ConnectionErrorCode): void {
    const { closeCode, reason } = closeOf(code)
    this.closeWith(closeCode, reason)
  }

  closeWith(closeCode: number, reason: string): void {
    if (this.#state === 'closed') return
    this.#end(closeCode, reason)
    this.#connection.close(closeCode, reason)
  }

  /** Stops taking messages from the client: it sends what was not acknowledged again elsewhere. */
  stopReading(): void {
    this.#isReading = false
    this.#keepPushes()
    this.#push.endDelay()
    this.#connection.pause()
  }

  /** Resolves when what this session has submitted is stored and answered. */
  async settled(): Promise<void> {
    await this.#messages.settled()
    await this.#push.settled()
  }

  #onClosed(code: number, reason: string): void {
    if (this.#state === 'closed') return
    this.#keepPushes()
    this.#end(code, reason)
  }

  #end(code: number, reason: string): void {
    this.#leaveRelays()
    this.#state = 'closed'
    this.#timer?.cancel()
    this.#messages.drain()
    this.#push.stop()
    this.#delivery?.stop(reason)
    this.#context.onSessionClosed(this)
    this.log(LOG_EVENTS.sessionClosed, { code, reason })
  }

  /** A method, because anything awaited or sent since the last check may have closed the session. */
  #isClosed(): boolean {
    return this.#state === 'closed'
  }

  #leaveRelays(): void {
    try {
      this.#context.relays.onClosed(this)
    } catch (error) {
      this.log(LOG_EVENTS.sessionCrashed, { err: error })
    }
  }

  /** Ends this session, and nothing else, over a programming error or a failing store. */
  crash(error: unknown): void {
    if (this.#state === 'closed') return
    if (
      error instanceof StoreError &&
      (error.code === 'STORE_UNAVAILABLE' || error.code === 'SERVER_STOPPING')
    ) {
      this.fail('STORE_UNAVAILABLE')
      return
    }
    this.log(LOG_EVENTS.sessionCrashed, { err: error })
    this.fail('SYNC_ERROR')
  }

  // ── what goes out ──────────────────────────────────────────────────────────────────────────

  onTransportFailed(error: unknown): void {
    // An error after the session has ended, as when the transport is closed, has nothing left to end.
    this.log(this.#isClosed() ? LOG_EVENTS.transportFailed : LOG_EVENTS.transportThrew, { err: error })
    this.close('SYNC_ERROR')
  }

  /**
   * Cuts off a client that reads none of its answers, which are due in any case: after a time, and at once when
   * they have become too many.
   */
  #boundBacklog(): void {
    if (!this.#connection.backlog.isFull) return
    if (!this.#connection.backlog.isTooMuch) {
      this.watchProgress()
      return
    }
    this.endUnread()
  }

  // ── what comes in ──────────────────────────────────────────────────────────────────────────

  #receive(message: unknown): void {
    if (this.#state === 'closed' || !this.#isReading) return
    // A client has to wait for the answer to its handshake. One that does not is refused unread.
    if (this.#messages.isBusy && !this.isAccepted) this.fail('HANDSHAKE_REQUIRED')
    else this.#messages.accept(message)
  }

  handle(message: unknown): Promise<void> | undefined {
    return this.#handleDecoded(this.#decode(message))
  }

  onHandlingFailed(error: unknown): void {
    if (error instanceof ProtocolError) this.fail(protocolErrorCode(error), error.message)
    else this.crash(error)
  }

  /** Keeps pushes of blobs that are still waiting when the connection ends. The client sends everything else again. */
  #keepPushes(): void {
    const waiting = this.#messages.drain()
    if (!this.isAccepted) return
    for (const push of arrivedPushes(waiting, (message) => this.#decode(message))) {
      void this.#context.relays.receive(this, push)
    }
  }

  #decode(message: unknown): ReceivedMessage {
    const limits = this.isAccepted ? this.#context.decodeLimits : this.#context.handshakeDecodeLimits
    return this.#connection.decode(message, limits)
  }

  #handleDecoded(message: ReceivedMessage): Promise<void> | undefined {
    if (message.type === 'handshake') return this.#handshake(message)
    if (!this.isAccepted) {
      this.fail('HANDSHAKE_REQUIRED')
      return undefined
    }
    switch (message.type) {
      case 'operation-batch':
        return this.#push.receive(message)
      case 'acknowledgment':
        this.#delivery?.acknowledge(message)
        return undefined
      case 'error':
        return undefined // clients report nothing that a server could act on
      case 'awareness-update':
      case 'yjs-doc-update':
      case 'blob-chunk-request':
      case 'blob-chunk-response':
      case 'blob-chunk-push':
        return this.#context.relays.receive(this, message)
      default:
        return assertNever(message)
    }
  }

  // ── handshake ──────────────────────────────────────────────────────────────────────────────

  #handshake(message: HandshakeMessage): Promise<void> | undefined {
    if (this.#state !== 'connected') {
      this.fail('DUPLICATE_HANDSHAKE')
      return undefined
    }
    this.#state = 'authenticating'
    return answerHandshake(this, message, this.#context)
  }

  /** Moves from `authenticating` to `syncing`: the client is answered, and sent what it lacks. */
  accept(result: AcceptedHandshake): void {
    const { identity, response } = result
    this.#identity = identity
    this.#state = 'syncing'
    this.#connection.admit()
    if (this.#isClosed()) return
    this.setExpiry()
    this.send({ ...response, messageId: this.nextMessageId() })
    if (this.#isClosed()) return
    this.#delivery = new SessionDelivery(this, this.#connection, this.#context)
    this.#delivery.open(result)
    this.#context.onSessionAccepted(this)
    this.log(LOG_EVENTS.sessionAccepted, {
      nodeId: identity.nodeId,
      userId: identity.auth.userId,
      watermark: result.watermark,
    })
    this.#delivery.pump()
  }

  /**
   * Ends the connection when the token expires, so that the client returns with a fresh one. Called again when the
   * clock has stepped, because the timer does not follow it.
   */
  setExpiry(): void {
    this.#timer?.cancel()
    this.#timer = null
    const expiresAt = this.#identity?.auth.expiresAt
    if (expiresAt === undefined) return
    const { runtime } = this.#context
    const remainingMs = Math.max(0, expiresAt - runtime.now())
    this.#timer = setLongTimer(runtime, remainingMs, () => {
      this.#withdraw()
      this.close('TOKEN_EXPIRED')
    })
  }

  /** Stops all traffic in both directions, because the client's access has ended. */
  #withdraw(): void {
    this.#connection.withdraw()
    this.#context.ingest.withdraw(this.#push)
  }
}

function protocolErrorCode(error: ProtocolError): ConnectionErrorCode {
  return error.code === 'MESSAGE_TOO_LARGE' ? 'MESSAGE_TOO_LARGE' : 'PROTOCOL_ERROR'
}
