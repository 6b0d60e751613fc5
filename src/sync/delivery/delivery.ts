import type { Frame } from '../../protocol/frame.ts'
import type { AcknowledgmentMessage, WireFormat } from '../../protocol/messages.ts'

/** Sends one session what its view shows. */
export interface Delivery {
  readonly acknowledgedSequence: number
  readonly sentSequence: number
  /** Up to here it no longer needs the entries that the view holds in memory. */
  readonly takenThrough: number
  readonly hasUnacknowledged: boolean
  /** null for clients without watermark. */
  readonly lag: DeliveryLag | null
  /** Sends as much as there is and as the window allows. Called whenever either may have changed. */
  pump(): void
  acknowledge(message: AcknowledgmentMessage): void
  /** True when the client says that it has applied a batch of this delivery; false where that cannot be told. */
  isApplied(message: AcknowledgmentMessage): boolean
  /**
   * Checks a delivery that may be stuck. Called every second while something is unacknowledged.
   *
   * @returns `'stalled'` when the client was sent the same batches twice and acknowledged nothing
   */
  checkProgress(): 'ok' | 'resent' | 'stalled'
  /** Restarts the client's time: it is not to blame for what is missing. */
  excuse(): void
  /**
   * Moves the watermark of a quiet client over what it may not see.
   *
   * @returns false when that could not be done now
   */
  skipInvisibleTail(): boolean
  stop(): void
}

/** How far a delivery is behind. */
export interface DeliveryLag {
  /** Visible entries that are committed and not sent. */
  readonly entries: number
  /** For how long the client has acknowledged nothing of what it was sent; 0 when nothing is unacknowledged. */
  readonly unacknowledgedMs: number
}

/** What a delivery needs of its session. */
export interface DeliveryTarget {
  /** Hands an encoded batch of so many operations to the connection. */
  sendDelivery(frame: Frame, operations: number): void
  /** True while the connection can take more without filling its send buffer. */
  canSend(): boolean
  /** The initial stream has been handed over completely. */
  onCaughtUp(): void
  /** Reading the store failed: the session cannot go on. */
  onDeliveryFailed(error: unknown): void
  readonly format: WireFormat
  /** Each message is a request of its own: the client may still receive messages of its last session. */
  readonly mayLoseMessages: boolean
}
