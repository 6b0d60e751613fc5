import type { Runtime } from '../../core/runtime.ts'
import { encodeDeliveryFrame } from '../../protocol/codec.ts'
import type { Frame } from '../../protocol/frame.ts'
import type { AcknowledgmentMessage } from '../../protocol/messages.ts'
import type { DeliveredEntry, ServerStore } from '../../store/store.ts'
import type { FeedWindow } from '../feed/views.ts'
import { AcknowledgmentWait } from './acknowledgment-wait.ts'
import { batchLength, endOf, MAX_BATCH_BYTES } from './batch-cut.ts'
import { WINDOW_BYTES } from './batches-in-flight.ts'
import type { Delivery, DeliveryTarget } from './delivery.ts'
import type { DeltaBatch, DeltaBatches, DeltaOptions } from './delta-batch.ts'
import { openDeltaBatches } from './delta-batches.ts'
import { knownFieldsOf, wireJsonFor } from './known-fields.ts'

export interface DeltaDeliveryOptions extends DeltaOptions {
  readonly store: DeltaOptions['store'] & Pick<ServerStore, 'registerNode' | 'getSchema'>
  readonly runtime: Runtime
  readonly feed: FeedWindow
  readonly nodeId: string
  /** True where an acknowledgment of this session also counts in the node's next one. */
  readonly speaksForNode: boolean
  /**
   * The era registered for the node at the handshake: acknowledgments count as long as the node is still registered
   * under it.
   */
  readonly registeredEra: string | null
  /** The client's schema version, which tells what it has columns for. */
  readonly schemaVersion: number
}

/** Batches that may be sent and unacknowledged at a time; fewer where their bytes fill the window. */
const WINDOW_BATCHES = 16
/**
 * How often the acknowledged position is stored. After a crash, what was acknowledged since is sent again; storing
 * it costs a write.
 */
const SAVE_INTERVAL_MS = 60_000

/** A batch that is sent, as long as it or one before it is not acknowledged. */
interface BatchInFlight {
  readonly messageId: string
  /** To send it again; its entries would be as much once more. null: it is acknowledged. */
  frame: Frame | null
  readonly operations: number
  /** Everything up to here is delivered once it and all before it are acknowledged. */
  readonly position: number
}

/**
 * Delivery to a client without watermark: what its version vector lacks, then each commit as it
 * comes. Nothing marks gaps for such a client, so what it has acknowledged is remembered for it.
 *
 * @see docs/protocol.md, "Clients without watermark"
 */
export class DeltaDelivery implements Delivery {
  readonly #target: DeliveryTarget
  readonly #options: DeltaDeliveryOptions
  /** null before it is asked for, and once the client has been sent all of it. */
  #delta: DeltaBatches | null = null
  #inFlight: BatchInFlight[] = []
  /** Bytes of the frames that are not acknowledged. */
  #inFlightBytes = 0
  #position: number | null = null
  #sentTo: number
  /** The position up to which the store is being read. @see DeliveryStream */
  #readingThrough: number | null = null
  #isPulling = false
  #pullsAgain = false
  #isStopped = false
  #isLive = false
  readonly #startedAt: number
  #messageCount = 0
  readonly #wait: AcknowledgmentWait
  #savedPosition: number
  /** null: not stored in this session */
  #savedAt: number | null = null
  /** True once it is stored that the client has received its whole delta. */
  #isDeltaSaved = false

  constructor(target: DeliveryTarget, options: DeltaDeliveryOptions) {
    this.#target = target
    this.#options = options
    this.#sentTo = Math.max(options.feed.head, options.view.completeAbove)
    this.#startedAt = Math.floor(options.runtime.now())
    this.#wait = new AcknowledgmentWait(options.runtime)
    this.#savedPosition = Math.max(0, options.legacyPosition)
  }

  get acknowledgedSequence(): number {
    return this.#position ?? 0
  }

  get sentSequence(): number {
    return this.#sentTo
  }

  get takenThrough(): number {
    return this.#readingThrough ?? this.#sentTo
  }

  get hasUnacknowledged(): boolean {
    return this.#inFlight.length > 0
  }

  /** null: without a watermark there is nothing to measure the lag by. */
  get lag(): null {
    return null
  }

  pump(): void {
    // A pull that is under way may just have found nothing to send.
    if (this.#isPulling) this.#pullsAgain = true
    else if (!this.#isStopped) void this.#pull()
  }

  acknowledge({ acknowledgedMessageId }: AcknowledgmentMessage): void {
    const acknowledged = this.#inFlight.find((batch) => batch.messageId === acknowledgedMessageId)
    if (!acknowledged?.frame) return // said again, it is no progress
    this.#inFlightBytes -= acknowledged.frame.bytes.byteLength
    acknowledged.frame = null
    this.#wait.onAcknowledged()
    while (this.#inFlight[0]?.frame === null) {
      this.#position = this.#inFlight.shift()?.position ?? this.#position
    }
    if (this.#isSaveDue()) void this.#savePosition()
    this.pump()
  }

  /** Always false: nothing that such a client acknowledges marks a place to go on from. */
  isApplied(): boolean {
    return false
  }

  checkProgress(): 'ok' | 'resent' | 'stalled' {
    if (this.#inFlight.length === 0) return 'ok'
    const waited = this.#wait.check()
    if (waited !== 'resend') return waited
    for (const { frame, operations } of this.#inFlight) {
      if (frame !== null) this.#target.sendDelivery(frame, operations)
    }
    return 'resent'
  }

  excuse(): void {
    this.#wait.excuse()
  }

  /** Always true: there is no watermark to move. */
  skipInvisibleTail(): boolean {
    return true
  }

  stop(): void {
    this.#isStopped = true
    void this.#savePosition()
  }

  /**
   * Stores what the client has acknowledged, for its next session. It does not count if the node has since come
   * with other live queries, as another tab does: it would hide entries that those show and these do not.
   */
  async #savePosition(): Promise<void> {
    const { store, nodeId, runtime, speaksForNode, registeredEra } = this.#options
    const position = this.#position
    if (!speaksForNode || position === null || position <= this.#savedPosition) return
    this.#savedPosition = position
    this.#savedAt = runtime.monotonicNow()
    this.#isDeltaSaved ||= this.#hasAll
    // Best effort: without it the next session repeats what the client already has.
    await store
      .registerNode({ nodeId, legacyPosition: position }, { scopeEra: registeredEra })
      .catch(() => {})
  }

  /**
   * Stores how far the client's vector can be trusted, before the client is sent any of it: if the server died
   * before storing it, its successor would trust the vector too far.
   */
  async #noteTold(toldThrough: number): Promise<void> {
    const { store, nodeId, runtime, speaksForNode, registeredEra } = this.#options
    if (!speaksForNode) return // what such a client acknowledges does not count
    await store.registerNode({ nodeId, legacyPosition: toldThrough }, { scopeEra: registeredEra })
    this.#savedPosition = Math.max(0, toldThrough)
    this.#savedAt = runtime.monotonicNow()
  }

  /** True once the client has received its whole delta, and at intervals after that. */
  #isSaveDue(): boolean {
    if (this.#hasAll && !this.#isDeltaSaved) return true
    const { runtime } = this.#options
    return this.#savedAt !== null && runtime.monotonicNow() - this.#savedAt >= SAVE_INTERVAL_MS
  }

  get #hasAll(): boolean {
    return this.#isLive && this.#inFlight.length === 0
  }

  async #pull(): Promise<void> {
    this.#isPulling = true
    try {
      do {
        this.#pullsAgain = false
        await this.#sendWhatFits()
      } while (this.#pullsAgain)
    } catch (error) {
      if (!this.#isStopped) this.#target.onDeliveryFailed(error)
    } finally {
      this.#isPulling = false
    }
  }

  async #sendWhatFits(): Promise<void> {
    while (!this.#isStopped && this.#hasRoom()) {
      const batch = this.#isLive ? await this.#nextLiveBatch() : await this.#nextDeltaBatch()
      if (batch === null || this.#isStopped) return
      if (batch.toldThrough !== undefined) await this.#noteTold(batch.toldThrough)
      if (this.#isStopped) return
      this.#send(batch)
      if (!this.#isLive && batch.isFinal) {
        this.#isLive = true
        this.#delta = null
        this.#target.onCaughtUp()
      }
    }
  }

  #hasRoom(): boolean {
    const isFull = this.#inFlightBytes >= WINDOW_BYTES || this.#inFlight.length >= WINDOW_BATCHES
    return !isFull && this.#target.canSend()
  }

  async #nextDeltaBatch(): Promise<DeltaBatch | null> {
    const run = { end: this.#sentTo, isStopped: () => this.#isStopped }
    this.#delta ??= await openDeltaBatches(this.#options, run)
    return this.#delta.next()
  }

  async #nextLiveBatch(): Promise<DeltaBatch | null> {
    const { feed, view, nodeId } = this.#options
    while (this.#sentTo < feed.head && !this.#isStopped) {
      const { found, end } = await this.#readLive()
      const visible = found.slice(0, batchLength(found, view.view))
      const position = visible.length < found.length ? endOf(visible) : end
      this.#sentTo = position
      const entries = visible.filter((entry) => entry.nodeId !== nodeId)
      if (entries.length > 0) return { entries, isFinal: true, batchIndex: 0, position }
    }
    return null
  }

  /** Reads the next visible entries, and the position below which there are no others. */
  async #readLive(): Promise<{ found: readonly DeliveredEntry[]; end: number }> {
    const { feed, view, store, batchSize, pageTurns } = this.#options
    if (view.covers(this.#sentTo)) {
      const { entries, isAll } = view.entriesAfter(this.#sentTo, batchSize, MAX_BATCH_BYTES)
      return { found: entries, end: isAll ? feed.head : endOf(entries) }
    }
    const query = { after: this.#sentTo, view: view.view, limit: batchSize, maxBytes: MAX_BATCH_BYTES }
    this.#readingThrough = feed.head
    try {
      await pageTurns.next()
      const page = await store.readDelivery(query)
      return { found: page.entries, end: page.scannedTo }
    } finally {
      this.#readingThrough = null
    }
  }

  #send(batch: DeltaBatch): void {
    this.#messageCount++
    // The id names this session, because a polling client may acknowledge a message of its last one.
    const messageId = `b-${this.#startedAt.toString(36)}-${this.#messageCount}`
    const { entries, position, toldThrough: _, ...header } = batch
    const { store, schemaVersion } = this.#options
    const knownFields = knownFieldsOf(schemaVersion, store.getSchema())
    const frame = encodeDeliveryFrame(
      { messageId, ...header },
      entries.map((entry) => wireJsonFor(entry, knownFields)),
      this.#target.format,
    )
    if (this.#inFlight.length === 0) this.#wait.onWindowOpened()
    this.#inFlight.push({ messageId, frame, operations: entries.length, position })
    this.#inFlightBytes += frame.bytes.byteLength
    this.#target.sendDelivery(frame, entries.length)
  }
}
