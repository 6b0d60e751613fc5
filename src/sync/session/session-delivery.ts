import type { Span } from '@opentelemetry/api'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { endSpan, startSpan } from '../../core/tracing.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { Frame } from '../../protocol/frame.ts'
import type { AcknowledgmentMessage, WireFormat } from '../../protocol/messages.ts'
import type { Delivery, DeliveryLag, DeliveryTarget } from '../delivery/delivery.ts'
import type { SharedView, ViewReader } from '../feed/views.ts'
import type { AcceptedHandshake } from '../handshake/handshake.ts'
import type { SyncHubContext } from '../hub/hub-context.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { SessionLog } from '../session-log.ts'
import type { SessionState } from '../session-state.ts'
import type { ClientConnection } from './client-connection.ts'
import { openDelivery } from './open-delivery.ts'

/** The session that a delivery belongs to. */
export interface DeliveredSession extends SessionLog {
  readonly state: SessionState
  /** null before the handshake is accepted. */
  readonly identity: SessionIdentity | null
  /** Called when the client has its initial data. */
  onCaughtUp(): void
  /** Has the hub check once a second that the client makes progress with what it is sent. */
  watchProgress(): void
  /** Ends the session: its client is told why. */
  fail(code: ConnectionErrorCode): void
  /** Ends the session with an error that a part of the server has thrown. */
  crash(error: unknown): void
}

/** A stream that has started over, which is stored once the client acknowledges some of it. */
interface UnnotedRestart {
  readonly nodeId: string
  /** The era to store for the node. */
  readonly restartedEra: string
  /** The era registered for the node at the time: the note counts only as long as this is still so. */
  readonly registeredEra: string | null
}

/** Sends an accepted client what its view shows, from its acceptance to the end of the session. */
export class SessionDelivery implements DeliveryTarget, ViewReader {
  readonly #session: DeliveredSession
  readonly #connection: ClientConnection
  readonly #context: SyncHubContext
  #sharedView: SharedView | null = null
  #delivery: Delivery | null = null
  /** null where the stream has not started over, or that is stored. */
  #restart: UnnotedRestart | null = null
  #catchUp: Span | null = null

  constructor(session: DeliveredSession, connection: ClientConnection, context: SyncHubContext) {
    this.#session = session
    this.#connection = connection
    this.#context = context
  }

  /** Joins the view of the client. Nothing is sent before `pump`. */
  open(accepted: AcceptedHandshake): void {
    this.#restart = restartOf(accepted)
    this.#sharedView = this.#context.views.acquire(accepted.identity.access.view, this)
    this.#delivery = openDelivery(this, accepted, this.#sharedView, this.#context)
    this.#catchUp = startSpan('kora.catch_up')
  }

  /** How far the delivery is behind; null for clients without watermark. */
  get lag(): DeliveryLag | null {
    return this.#delivery?.lag ?? null
  }

  /** Sends as much as there is and as the client takes. */
  pump(): void {
    try {
      this.#delivery?.pump()
    } catch (error) {
      this.#session.crash(error)
      return
    }
    if (!this.canSend()) this.#session.watchProgress() // goes on once the buffer has drained
  }

  acknowledge(message: AcknowledgmentMessage): void {
    this.#noteRestart(message)
    this.#delivery?.acknowledge(message)
  }

  /** Restarts the client's time: it is not to blame for what is missing. */
  excuse(): void {
    this.#delivery?.excuse()
  }

  /**
   * Checks a client that has not acknowledged everything, and ends the session of one that acknowledges nothing.
   *
   * @returns false when there is nothing left to watch
   */
  checkProgress(): boolean {
    const delivery = this.#delivery
    if (delivery === null) return this.#connection.backlog.isBlocked
    this.pump() // its buffer may have drained without anything else happening
    if (delivery.checkProgress() === 'stalled') {
      this.#session.log(LOG_EVENTS.deliveryStalled, {
        nodeId: this.#session.identity?.nodeId,
        acknowledgedSequence: delivery.acknowledgedSequence,
        sentSequence: delivery.sentSequence,
      })
      this.#session.fail('SLOW_CONSUMER')
      return false
    }
    return delivery.hasUnacknowledged || this.#connection.backlog.isBlocked
  }

  /** @returns false when the watermark could not be moved over entries that the client may not see */
  skipInvisibleTail(): boolean {
    return this.#delivery?.skipInvisibleTail() === true
  }

  /** @param reason why the session ends */
  stop(reason: string): void {
    this.#endCatchUp(reason)
    this.#delivery?.stop()
    if (this.#sharedView !== null) this.#context.views.release(this.#sharedView, this)
  }

  // ── called by the delivery ─────────────────────────────────────────────────────────────────

  get format(): WireFormat {
    return this.#connection.format
  }

  get mayLoseMessages(): boolean {
    return this.#connection.mayLoseMessages
  }

  canSend(): boolean {
    return !this.#connection.backlog.isFull
  }

  sendDelivery(frame: Frame, operations: number): void {
    if (this.#session.state === 'closed') return
    this.#context.stats.operationsSent += operations
    this.#connection.sendFrame(frame)
    this.#session.watchProgress()
  }

  onCaughtUp(): void {
    this.#endCatchUp()
    this.#session.onCaughtUp()
  }

  onDeliveryFailed(error: unknown): void {
    this.#session.crash(error)
  }

  // ── called by the view ─────────────────────────────────────────────────────────────────────

  get takenThrough(): number {
    return this.#delivery?.takenThrough ?? 0
  }

  onViewAdvanced(): void {
    this.pump()
  }

  /**
   * Stores, once the client has acknowledged something of a stream that started over, that it may continue from
   * there.
   */
  #noteRestart(message: AcknowledgmentMessage): void {
    if (this.#restart === null || (message.deliverySequence ?? 0) === 0) return
    if (!this.#delivery?.isApplied(message)) return
    const { nodeId, restartedEra, registeredEra } = this.#restart
    this.#restart = null
    // Best effort: without it the next session starts over once more.
    this.#context.store
      .registerNode({ nodeId, scopeEra: restartedEra }, { scopeEra: registeredEra })
      .catch(() => {})
  }

  #endCatchUp(reason?: string): void {
    endSpan(this.#catchUp, reason)
    this.#catchUp = null
  }
}

function restartOf({ identity, restartedEra, registeredEra }: AcceptedHandshake): UnnotedRestart | null {
  return restartedEra === null ? null : { nodeId: identity.nodeId, restartedEra, registeredEra }
}
