import type { Runtime, Timer } from '../core/runtime.ts'
import type { Frame } from '../protocol/frame.ts'
import { encodeJsonMessage } from '../protocol/json-codec.ts'
import type { SyncMessage } from '../protocol/messages.ts'
import { isAnswer, type ServerTransport } from '../sync/transport.ts'
import { MESSAGE_OVERHEAD_BYTES } from './waiting-bytes.ts'

interface QueuedFrame {
  readonly frame: Frame
  readonly isAnswer: boolean
  /** ETag of a frame that was taken before and may not have arrived. */
  readonly etag?: string
}

/** A frame as a poll gets it. */
export interface PolledFrame extends QueuedFrame {
  readonly etag: string
}

/**
 * How long the first poll after a broken one waits for a handshake. A Kora client that lost its connection sends
 * both at once, and the handshake may need a connection of its own: three round trips on a poor mobile link.
 */
const HANDSHAKE_WAIT_MS = 1000

interface WaitingPoll {
  readonly resolve: (frame: PolledFrame | null) => void
  readonly timer: Timer
  /** The ETag of the message that the client has. */
  readonly known: string | undefined
}

/** The queue between a session and the polls of its client. */
export class PollingTransport implements ServerTransport {
  readonly mayLoseMessages = true
  readonly errorsAreFinal = true
  readonly remoteAddress: string
  readonly #runtime: Runtime
  #queue: QueuedFrame[] = []
  #queuedBytes = 0
  /** Number of messages taken so far, each counted once; the next message's ETag is one higher. */
  #taken = 0
  #poll: WaitingPoll | null = null
  #polls = 0
  /** True when the latest poll has lost its connection. */
  #isBroken = false
  /** While it runs, nothing is given to a poll, because a handshake may be on its way. */
  #handshakeTimer: Timer | null = null
  #isConnected = true
  #hasAllMessages = true
  /** True when the client has gone, or has begun another session. */
  #isGone = false
  /** True when messages that were queued, or not sent completely, must not be sent any more. */
  #isWithdrawn = false
  #isPaused = false
  readonly #endListeners = new Set<() => void>()
  #onAdmitted: () => void = () => {}
  #onEnded: () => void = () => {}
  #onMessage: (message: unknown) => void = () => {}
  #onClose: (code: number, reason: string) => void = () => {}

  constructor(runtime: Runtime, remoteAddress: string | undefined) {
    this.#runtime = runtime
    this.remoteAddress = remoteAddress ?? ''
  }

  get bufferedBytes(): number {
    return this.#queuedBytes + this.#queue.length * MESSAGE_OVERHEAD_BYTES
  }

  /** True while the session asks for a pause: the client is told to come back later. */
  get isOverloaded(): boolean {
    return this.#isPaused
  }

  /**
   * Calls back when the session ends, after which it takes no more messages. Not an AbortSignal: Node reports more
   * than ten listeners as a leak, and each body that is being read is a listener.
   *
   * @returns a function that ends the subscription
   */
  subscribeToEnd(listener: () => void): () => void {
    this.#endListeners.add(listener)
    return () => void this.#endListeners.delete(listener)
  }

  /** True when the session has ended, and its client has been told everything that it was to be told. */
  get isOver(): boolean {
    return !this.#isConnected && this.#queue.length === 0
  }

  receive(frame: Frame): void {
    if (this.#isConnected) this.#onMessage(frame)
  }

  /** Notes that something from the client may be missing before the next message. */
  missMessages(): void {
    this.#hasAllMessages = false
  }

  get hasAllMessages(): boolean {
    return this.#hasAllMessages
  }

  /** The number of polls so far, which is also the number of the latest. */
  get polls(): number {
    return this.#polls
  }

  /**
   * Takes the next message, waiting for it up to `holdMs`.
   *
   * The first poll of a returning client precedes its handshake. A poll that looks like one waits for the
   * handshake, because the messages queued here would otherwise reach a session that has not begun. It looks like
   * one if the poll before it broke, or is still being held: clients poll one at a time.
   *
   * @param ifNoneMatch ETag of the message that the client has: it may have arrived although its connection broke,
   *   and is then not sent again
   * @param signal aborted when the answer is no longer awaited: the next message is left for another poll
   * @returns null when there was none; `'not-modified'` when `ifNoneMatch` names it
   */
  take(
    holdMs: number,
    ifNoneMatch: string | undefined,
    signal?: AbortSignal,
  ): Promise<PolledFrame | null | 'not-modified'> {
    if (signal?.aborted === true) return Promise.resolve(null)
    this.#polls++
    if (this.#isBroken || this.#poll !== null) this.#awaitHandshake()
    this.#release(null)
    this.#dropKnown(ifNoneMatch)
    if (this.#hasNext()) {
      return Promise.resolve(ifNoneMatch === this.#nextEtag() ? 'not-modified' : this.#next())
    }
    if (this.isOver || holdMs === 0) return Promise.resolve(null)
    return new Promise((resolve) => {
      const timer = this.#runtime.setTimer(holdMs, () => this.#release(null), { isAwaited: true })
      const poll = { resolve, timer, known: ifNoneMatch }
      this.#poll = poll
      signal?.addEventListener('abort', () => {
        if (this.#poll !== poll) return
        this.#isBroken = true
        this.#release(null)
      })
    })
  }

  /**
   * Called when the connection of this poll broke, and no other request has come on it.
   *
   * @param unsent the message that has not left on it. The next poll gets it again, unless later messages have been
   *   sent: the client would then get it in the wrong order
   */
  onBroken(poll: number, unsent: PolledFrame | null): void {
    if (unsent !== null && unsent.etag === etagOf(this.#taken) && this.#mayTellAgain(unsent)) {
      this.#queue.unshift(unsent)
      this.#queuedBytes += unsent.frame.bytes.byteLength
      this.#dropKnown(this.#poll?.known)
    }
    if (poll === this.#polls) this.#isBroken = true
    else if (unsent !== null && this.#poll !== null) this.#awaitHandshake()
  }

  /** Drops what is queued, because the client is gone. */
  disconnect(): void {
    this.#isGone = true
    this.#queue = []
    this.#queuedBytes = 0
    this.#handshakeTimer?.cancel()
    if (this.#isConnected) {
      this.#isConnected = false
      this.#tellEnd()
      this.#onClose(1001, 'polling session ended')
    }
    this.#release(null)
  }

  // ── ServerTransport ────────────────────────────────────────────────────────────────────────

  send(message: SyncMessage): void {
    const frame = { isBinary: false, bytes: Buffer.from(encodeJsonMessage(message)) }
    this.sendFrame(frame, isAnswer(message))
  }

  sendFrame(frame: Frame, isAnswer: boolean): void {
    if (!this.#isConnected) return
    this.#queue.push({ frame, isAnswer })
    this.#queuedBytes += frame.bytes.byteLength
    this.#answer()
  }

  withdraw(): void {
    this.#isWithdrawn = true
    this.#queue = []
    this.#queuedBytes = 0
  }

  /** Calls back when the client has authenticated. */
  onAdmitted(handler: () => void): void {
    this.#onAdmitted = handler
  }

  admit(): void {
    this.#onAdmitted()
  }

  /** Calls back when the session has ended; at once where it already has. */
  onEnded(handler: () => void): void {
    if (this.#isConnected) this.#onEnded = handler
    else handler()
  }

  onMessage(handler: (message: unknown) => void): void {
    this.#onMessage = handler
  }

  onClose(handler: (code: number, reason: string) => void): void {
    this.#onClose = handler
  }

  onError(): void {
    // A failed poll is not noticed here: the client polls again, or the session expires.
  }

  isConnected(): boolean {
    return this.#isConnected
  }

  /**
   * Ends the session. Queued answers are still sent: they say what was stored, and why the session ended. What
   * others have written is dropped, because nothing checks any more whether the client may see it; its next session
   * gets it.
   */
  close(): void {
    if (!this.#isConnected) return
    this.#isConnected = false
    this.#tellEnd()
    this.#onMessage = () => {} // lets go of the session itself, which is not needed for the queued answers
    this.#onClose = () => {}
    this.#queue = this.#queue.filter(({ isAnswer }) => isAnswer)
    this.#queuedBytes = this.#queue.reduce((sum, { frame }) => sum + frame.bytes.byteLength, 0)
    this.#onEnded()
    if (this.#queue.length === 0) this.#release(null)
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
  }

  #tellEnd(): void {
    for (const listener of this.#endListeners) listener()
  }

  #mayTellAgain({ isAnswer }: QueuedFrame): boolean {
    return !this.#isGone && !this.#isWithdrawn && (this.#isConnected || isAnswer)
  }

  #awaitHandshake(): void {
    this.#isBroken = false
    this.#handshakeTimer?.cancel()
    this.#handshakeTimer = this.#runtime.setTimer(HANDSHAKE_WAIT_MS, () => {
      this.#handshakeTimer = null
      this.#answer()
    })
  }

  /** Gives the waiting poll the next message, if there is one. */
  #answer(): void {
    if (this.#poll !== null && this.#hasNext()) this.#release(this.#next())
  }

  #hasNext(): boolean {
    return this.#queue.length > 0 && this.#handshakeTimer === null
  }

  #nextEtag(): string {
    return this.#queue[0]?.etag ?? etagOf(this.#taken + 1)
  }

  #next(): PolledFrame | null {
    const etag = this.#nextEtag()
    const next = this.#queue.shift()
    if (next === undefined) return null
    if (next.etag === undefined) this.#taken++
    this.#queuedBytes -= next.frame.bytes.byteLength
    return { ...next, etag }
  }

  /** Drops a frame that was kept because its connection broke, if it had arrived after all. */
  #dropKnown(etag: string | undefined): void {
    if (etag !== undefined && this.#queue[0]?.etag === etag) this.#next()
  }

  #release(frame: PolledFrame | null): void {
    const poll = this.#poll
    if (poll === null) return
    this.#poll = null
    poll.timer.cancel()
    poll.resolve(frame)
  }
}

function etagOf(number: number): string {
  return `W/"${number}"`
}
