import type { Runtime, Timer } from '../core/runtime.ts'
import type { Frame } from '../protocol/frame.ts'
import { encodeJsonMessage } from '../protocol/json-codec.ts'
import type { SyncMessage } from '../protocol/messages.ts'
import type { ServerTransport } from '../sync/transport.ts'

/** A frame as a poll takes it away. */
export interface PolledFrame {
  readonly frame: Frame
  readonly etag: string
}

interface WaitingPoll {
  readonly resolve: (frame: PolledFrame | null) => void
  readonly timer: Timer
}

/** The queue between a session and the polls of its client. */
export class PollingTransport implements ServerTransport {
  readonly mayLoseMessages = true
  readonly remoteAddress: string
  readonly #runtime: Runtime
  #queue: Frame[] = []
  #queuedBytes = 0
  /** Messages taken away so far: the next one's etag is one more. */
  #taken = 0
  #poll: WaitingPoll | null = null
  #isConnected = true
  #isPaused = false
  #onAdmitted: () => void = () => {}
  #onMessage: (message: unknown) => void = () => {}
  #onClose: (code: number, reason: string) => void = () => {}

  constructor(runtime: Runtime, remoteAddress: string | undefined) {
    this.#runtime = runtime
    this.remoteAddress = remoteAddress ?? ''
  }

  get bufferedBytes(): number {
    return this.#queuedBytes
  }

  /** True while the session asks for a pause: the client is told to come back later. */
  get isOverloaded(): boolean {
    return this.#isPaused
  }

  receive(frame: Frame): void {
    if (this.#isConnected) this.#onMessage(frame)
  }

  /**
   * Takes the next message, waiting for it up to `holdMs`. A second poll releases the first.
   *
   * @param signal aborted when nobody waits for the answer any more: what comes next is for another poll
   * @returns null when there was none; `'not-modified'` when `ifNoneMatch` names it
   */
  take(
    holdMs: number,
    ifNoneMatch: string | undefined,
    signal?: AbortSignal,
  ): Promise<PolledFrame | null | 'not-modified'> {
    if (signal?.aborted === true) return Promise.resolve(null)
    this.#release(null)
    if (this.#queue.length > 0) {
      return Promise.resolve(ifNoneMatch === this.#nextEtag() ? 'not-modified' : this.#next())
    }
    if (!this.#isConnected || holdMs === 0) return Promise.resolve(null)
    return new Promise((resolve) => {
      const timer = this.#runtime.setTimer(holdMs, () => this.#release(null))
      const poll = { resolve, timer }
      this.#poll = poll
      signal?.addEventListener('abort', () => {
        if (this.#poll === poll) this.#release(null)
      })
    })
  }

  /** The client is gone: what is queued for it is dropped. */
  disconnect(): void {
    this.#queue = []
    this.#queuedBytes = 0
    if (this.#isConnected) {
      this.#isConnected = false
      this.#onClose(1001, 'polling session ended')
    }
    this.#release(null)
  }

  // ── ServerTransport ────────────────────────────────────────────────────────────────────────

  send(message: SyncMessage): void {
    this.sendFrame({ isBinary: false, bytes: Buffer.from(encodeJsonMessage(message)) })
  }

  sendFrame(frame: Frame): void {
    if (!this.#isConnected) return
    this.#queue.push(frame)
    this.#queuedBytes += frame.bytes.byteLength
    if (this.#poll !== null) this.#release(this.#next())
  }

  /** Calls back when the client has authenticated. */
  onAdmitted(handler: () => void): void {
    this.#onAdmitted = handler
  }

  admit(): void {
    this.#onAdmitted()
  }

  onMessage(handler: (message: unknown) => void): void {
    this.#onMessage = handler
  }

  onClose(handler: (code: number, reason: string) => void): void {
    this.#onClose = handler
  }

  onError(): void {
    // A poll that fails is not seen here: the client asks again, or the session expires.
  }

  isConnected(): boolean {
    return this.#isConnected
  }

  /** What is queued is still delivered: it says why the session ended. */
  close(): void {
    this.#isConnected = false
    if (this.#queue.length === 0) this.#release(null)
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
  }

  #nextEtag(): string {
    return `W/"${this.#taken + 1}"`
  }

  #next(): PolledFrame | null {
    const frame = this.#queue.shift()
    if (frame === undefined) return null
    const etag = this.#nextEtag()
    this.#taken++
    this.#queuedBytes -= frame.bytes.byteLength
    return { frame, etag }
  }

  #release(frame: PolledFrame | null): void {
    const poll = this.#poll
    if (poll === null) return
    this.#poll = null
    poll.timer.cancel()
    poll.resolve(frame)
  }
}
