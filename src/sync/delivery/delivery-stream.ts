import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { Frame } from '../../protocol/frame.ts'
import type { AcknowledgmentMessage } from '../../protocol/messages.ts'
import type { DeliveredEntry, DeliveryPage, ServerStore } from '../../store/store.ts'
import { authorsOf } from '../feed/catch-up-frames.ts'
import type { SharedFrames } from '../feed/shared-frames.ts'
import type { FeedWindow, SharedView } from '../feed/views.ts'
import { AcknowledgmentWait } from './acknowledgment-wait.ts'
import { batchLength, endOf, MAX_BATCH_BYTES } from './batch-cut.ts'
import { BatchesInFlight, batchId } from './batches-in-flight.ts'
import type { Delivery, DeliveryLag, DeliveryTarget } from './delivery.ts'
import { makeDeliveryFrame } from './delivery-frame.ts'
import { type KnownFields, knownFieldsOf } from './known-fields.ts'
import type { PageTurns } from './page-turns.ts'
import { ResentEnds } from './resent-ends.ts'

export interface DeliveryStreamOptions {
  readonly store: Pick<ServerStore, 'readDelivery' | 'getSchema'>
  readonly runtime: Runtime
  readonly view: SharedView
  readonly feed: FeedWindow
  readonly pageTurns: PageTurns
  /** The node whose own operations are left out. */
  readonly nodeId: string
  /**
   * Up to here the client has its own operations and is not sent them again. Beyond it, it gets them
   * back with the initial stream: it has lost its database, or was cut off while it got them back.
   */
  readonly ownSequence: number
  /** The client's watermark: the stream's first base. */
  readonly from: number
  /** The log's end at the handshake: the batch that reaches it is the final one. */
  readonly initialEnd: number
  readonly batchSize: number
  /** The client's schema version, which tells what it has columns for. */
  readonly schemaVersion: number
}

/** So much that a client has written itself moves its watermark, by an empty batch. */
const SKIP_OWN_AFTER_ENTRIES = 1000
/** Entries of the batches that are read at once: the event loop is held for as long as they take. */
const MAX_ENTRIES_PER_PAGE = 500

/**
 * How often a session is at once sent again what it has ignored. A client that has just connected needs it once; one
 * that acknowledged in the middle of batch after batch would have a window of them sent for each operation.
 */
const MAX_PROMPT_RESENDS = 8

/**
 * The delivery stream of one session: everything its view shows, in commit order, in batches that
 * are chained by delivery sequence. Sent ahead of the acknowledgments within a bounded window.
 *
 * @see docs/protocol.md, "Delivery stream"
 */
export class DeliveryStream implements Delivery {
  readonly #target: DeliveryTarget
  readonly #options: DeliveryStreamOptions
  /** The end of the last batch sent, which the next one must start from. */
  #chainEnd: number
  /** Every visible entry up to here was sent. Ahead of the chain where a tail was invisible. */
  #scannedTo: number
  #acknowledged: number
  readonly #inFlight = new BatchesInFlight()
  readonly #resentEnds = new ResentEnds()
  readonly #wait: AcknowledgmentWait
  #promptResends = 0
  #batchIndex = 0
  #isCaughtUp = false
  /** Base of the last batch that was sent. */
  #lastBase = 0
  #isLastEmpty = true
  /** Once is enough: a client that is in step needs no other. */
  #hasRepeatedFinal = false
  #isReading = false
  /**
   * The end of what is read from the store. What comes meanwhile stays with the view, or reading would never
   * end.
   */
  #readingThrough = 0
  #isStopped = false
  #generation = 0
  /** Where the initial stream has ended: what is the client's own beyond, it has sent since. */
  #initialStreamEnd = Number.POSITIVE_INFINITY

  constructor(target: DeliveryTarget, options: DeliveryStreamOptions) {
    this.#target = target
    this.#options = options
    this.#chainEnd = options.from
    this.#scannedTo = options.from
    this.#acknowledged = options.from
    this.#wait = new AcknowledgmentWait(options.runtime)
    options.view.catchUpFrames.join()
  }

  get acknowledgedSequence(): number {
    return this.#acknowledged
  }

  get sentSequence(): number {
    return this.#chainEnd
  }

  get takenThrough(): number {
    return this.#isReading ? this.#readingThrough : this.#scannedTo
  }

  get hasUnacknowledged(): boolean {
    return !this.#inFlight.isEmpty
  }

  get lag(): DeliveryLag {
    const unacknowledgedMs = this.#inFlight.isEmpty ? 0 : this.#wait.silentMs
    return { entries: this.#pendingEntries, unacknowledgedMs }
  }

  /** While it catches up, and where the store has to be read, an upper bound. */
  get #pendingEntries(): number {
    const { feed, view } = this.#options
    if (this.#isCaughtUp && view.covers(this.#scannedTo)) return view.countAfter(this.#scannedTo)
    return Math.max(0, feed.head - this.#scannedTo)
  }

  /** Asked for each batch: the store may learn of the client's version while it is connected. */
  get #knownFields(): KnownFields | null {
    const { store, schemaVersion } = this.#options
    return knownFieldsOf(schemaVersion, store.getSchema())
  }

  pump(): void {
    if (this.#isStopped || this.#isReading) return
    const { feed, view } = this.#options
    while (this.#hasRoom()) {
      if (this.#isCaughtUp && this.#scannedTo >= feed.head) return
      if (!this.#isCaughtUp || !view.covers(this.#scannedTo)) {
        void this.#readAndSend()
        return
      }
      this.#sendFromFeed()
    }
  }

  acknowledge(message: AcknowledgmentMessage): void {
    const { deliverySequence } = message
    // Above what was sent: a confused or hostile client.
    if (deliverySequence === undefined || deliverySequence > this.#chainEnd) return
    const isIgnored = this.#inFlight.isIgnored(message)
    if (deliverySequence > this.#acknowledged) {
      this.#acknowledged = deliverySequence
      this.#wait.onAcknowledged()
    }
    this.#inFlight.drop(this.#acknowledged)
    if (isIgnored && this.#promptResends < MAX_PROMPT_RESENDS) {
      this.#promptResends++
      this.#rewind()
    }
    if (!this.#hasRepeatedFinal) this.#repeatFinal(message)
    this.pump()
  }

  /**
   * Sends the final batch again to a client that waits for one that it applies. A client that has reached its end by
   * what its last session was sent takes the batch for a repetition, and acknowledges it without the number of its last
   * operation. An empty batch has no such number: it counts as ignored only where the client's last session may have
   * been sent something.
   */
  #repeatFinal({ acknowledgedMessageId, deliverySequence, lastSequenceNumber }: AcknowledgmentMessage): void {
    if (!this.#isFinal(this.#chainEnd)) return
    const isLast = acknowledgedMessageId === batchId(this.#lastBase, this.#chainEnd)
    if (!isLast || deliverySequence !== this.#chainEnd || lastSequenceNumber > 0) return
    if (this.#isLastEmpty && (!this.#target.mayLoseMessages || this.#lastBase === this.#chainEnd)) return
    this.#hasRepeatedFinal = true
    this.#sendBatch([], { max: this.#chainEnd, frames: null })
  }

  isApplied(message: AcknowledgmentMessage): boolean {
    return this.#inFlight.isApplied(message)
  }

  checkProgress(): 'ok' | 'resent' | 'stalled' {
    if (this.#inFlight.isEmpty) return 'ok'
    const waited = this.#wait.check()
    if (waited !== 'resend') return waited
    this.#rewind()
    this.pump()
    return 'resent'
  }

  excuse(): void {
    this.#wait.excuse()
  }

  /** Goes back to the last acknowledged position; a page that is being read no longer fits. */
  #rewind(): void {
    this.#generation++
    const ends = this.#inFlight.clear().filter((max) => max > this.#acknowledged)
    this.#batchIndex -= ends.filter((max) => max <= this.#initialStreamEnd).length
    this.#resentEnds.restart(ends)
    this.#chainEnd = this.#acknowledged
    this.#scannedTo = this.#acknowledged
  }

  skipInvisibleTail(): boolean {
    this.pump() // a view that shows nothing new has not been told how far the log has come
    this.#skipTail(1)
    return this.#chainEnd >= this.#options.feed.head
  }

  /** Moves the watermark over what the client may not see, once it is so many entries. */
  #skipTail(minEntries: number): void {
    if (!this.#isCaughtUp || this.#isStopped || !this.#inFlight.isEmpty) return
    if (this.#scannedTo - this.#chainEnd < minEntries) return
    this.#tellPassedEnds()
    if (this.#scannedTo > this.#chainEnd) {
      this.#sendBatch([], { max: this.#scannedTo, frames: null })
    }
  }

  stop(): void {
    if (this.#isStopped) return
    this.#isStopped = true
    if (!this.#isCaughtUp) this.#options.view.catchUpFrames.leave()
  }

  #hasRoom(): boolean {
    return !this.#inFlight.isFull && this.#target.canSend()
  }

  #sendFromFeed(): void {
    const { feed, view, batchSize } = this.#options
    const { entries: found, isAll } = view.entriesAfter(this.#scannedTo, batchSize, MAX_BATCH_BYTES)
    const isAllOwn = found.every((entry) => this.#isOwn(entry))
    const fitting = isAllOwn ? found : found.slice(0, batchLength(found, view.view))
    const end = isAll && fitting.length === found.length ? feed.head : endOf(fitting)
    const { visible, max } = this.#cut(fitting, end)
    const entries = this.#withoutOwn(visible)
    const isTold = entries.length > 0 || this.#endsInitialStream(max)
    this.#moveTo(max, isTold)
    const isWhole = entries.length === visible.length
    if (isTold) this.#sendBatch(entries, { max, frames: isWhole && view.isShared ? view.frames : null })
    else if (found.length > 0) this.#skipTail(SKIP_OWN_AFTER_ENTRIES)
  }

  /**
   * The part of a batch up to `end` that is sent at once: where it is sent again, as much as was the first
   * time.
   */
  #cut(
    entries: readonly DeliveredEntry[],
    end: number,
  ): { readonly visible: readonly DeliveredEntry[]; readonly max: number } {
    const { limit } = this.#resentEnds
    if (end <= limit) return { visible: entries, max: end }
    return { visible: entries.filter(({ deliverySequence }) => deliverySequence <= limit), max: limit }
  }

  /** @param isTold a batch up to `max` is sent next; else there is nothing to send up to there */
  #moveTo(max: number, isTold: boolean): void {
    this.#scannedTo = max
    if (isTold) this.#tellPassedEnds()
    this.#resentEnds.pass(max, isTold)
  }

  #tellPassedEnds(): void {
    for (const max of this.#resentEnds.takePassed()) {
      this.#sendBatch([], { max, frames: null })
    }
  }

  /** One page of the store, then whatever comes next. */
  async #readAndSend(): Promise<void> {
    this.#isReading = true
    this.#readingThrough = this.#options.feed.head
    try {
      await this.#sendNextPage()
      this.#isReading = false
      this.pump()
    } catch (error) {
      this.#isReading = false
      if (!this.#isStopped) this.#target.onDeliveryFailed(error)
    }
  }

  async #sendNextPage(): Promise<void> {
    const key = this.#catchUpKey()
    if (key === null) return void (await this.#readNextPage())
    if (this.#sendShared(key)) return
    const { runtime, view } = this.#options
    // Clients that are behind find what was read before them: they go first, so that none runs ahead.
    await yieldToEventLoop(runtime)
    for (;;) {
      const isMade = await view.catchUpFrames.whenMade(key)
      if (this.#isStopped || key !== this.#catchUpKey() || this.#sendShared(key)) return
      // The stream that was to make it may have left: then one of the waiting streams makes it, not all of them.
      if (isMade !== false || view.catchUpFrames.whenMade(key) === null) break
    }
    await view.catchUpFrames.make(key, this.#readNextPage())
  }

  /** @returns false when the client left, or went back in the stream, before anything of the page was sent */
  async #readNextPage(): Promise<boolean> {
    const { store, view, batchSize, pageTurns } = this.#options
    await pageTurns.next()
    if (this.#isStopped) return false
    const generation = this.#generation
    const batches = this.#batchesPerPage()
    const page = await store.readDelivery({
      after: this.#scannedTo,
      view: view.view,
      limit: batches * batchSize + 1, // one more tells whether the batch is the last
      maxBytes: MAX_BATCH_BYTES,
    })
    const isStill = (): boolean => !this.#isStopped && generation === this.#generation
    if (!isStill()) return false
    const { length } = page.entries
    const isCutOff = length > batches * batchSize
    let dealtWith = 0
    // What is left where the window closes is read again: kept, it would be another window for each client.
    while (isStill() && (dealtWith === 0 || this.#hasRoom())) {
      dealtWith += this.#sendFromPage(page, dealtWith)
      const left = length - dealtWith
      if (left === 0 || (isCutOff && left <= batchSize)) break
      // A short batch ends where its page does, which began elsewhere for another client: nobody could share it.
      if (view.catchUpFrames.isShared && left < batchSize && !page.isLast) break
    }
    return true
  }

  /** The first pages are small: the first entries arrive sooner, and clients that come at the same time can share them. */
  #batchesPerPage(): number {
    const fitting = Math.floor(MAX_ENTRIES_PER_PAGE / this.#options.batchSize)
    return Math.max(1, Math.min(fitting, this.#batchIndex + 1, this.#inFlight.room))
  }

  /**
   * Sends the next batch of a page.
   *
   * @returns how many of the page's entries it holds
   */
  #sendFromPage(page: DeliveryPage<DeliveredEntry>, start: number): number {
    const sharedKey = this.#catchUpKey()
    const { visible, max, endsPage } = this.#nextOfPage(page, start)
    const isLast = endsPage && (page.isLast || page.scannedTo >= this.#options.initialEnd)
    if (isLast && !this.#isCaughtUp) this.#initialStreamEnd = max
    const isFinal = this.#isFinal(max)
    const entries = this.#withoutOwn(visible)
    const isTold = entries.length > 0 || this.#endsInitialStream(max)
    this.#moveTo(max, isTold)
    if (isTold) {
      const frame = this.#sendBatch(entries, { max, frames: null })
      const isForAll = entries.length === visible.length && !isFinal
      if (sharedKey !== null) this.#share(sharedKey, isForAll ? { frame, max, entries } : null)
    }
    if (isFinal && !this.#isCaughtUp) this.#finishInitialStream()
    return visible.length
  }

  /** Cuts the next batch out of a page. */
  #nextOfPage(
    page: DeliveryPage<DeliveredEntry>,
    start: number,
  ): { readonly visible: readonly DeliveredEntry[]; readonly max: number; readonly endsPage: boolean } {
    const { view, batchSize } = this.#options
    const next = page.entries.slice(start, start + batchSize)
    const fitting = next.slice(0, batchLength(next, view.view))
    const isRest = start + fitting.length === page.entries.length
    const { visible, max } = this.#cut(fitting, isRest ? page.scannedTo : endOf(fitting))
    return { visible, max, endsPage: isRest && max >= page.scannedTo }
  }

  // ── what those who catch up side by side are sent alike ────────────────────────────────────

  /**
   * All that the bytes of the next batch depend on beside the log, the view and what is the client's
   * own; null where there is nothing to share, or nobody to share it with.
   */
  #catchUpKey(): string | null {
    const { view, initialEnd } = this.#options
    if (this.#isCaughtUp || this.#scannedTo >= initialEnd || !view.catchUpFrames.isShared) return null
    if (this.#scannedTo !== this.#chainEnd) return null // it has left out what is the client's own
    if (!this.#resentEnds.isEmpty) return null // it is sent again what it was sent
    return `${this.#target.format} ${this.#chainEnd} ${this.#batchIndex} ${this.#knownFields?.version ?? ''}`
  }

  /** @param sent null for a batch that is for this client alone */
  #share(
    key: string,
    sent: { readonly frame: Frame; readonly max: number; readonly entries: readonly DeliveredEntry[] } | null,
  ): void {
    if (this.#isStopped) return // by what sending has led to
    const { catchUpFrames } = this.#options.view
    if (sent === null) catchUpFrames.notePassed(key)
    else {
      const { frame, max, entries } = sent
      catchUpFrames.add(key, { frame, max, entryCount: entries.length, authors: authorsOf(entries) })
    }
  }

  /** @returns false where the next batch has not been made, or holds what is the client's own */
  #sendShared(key: string): boolean {
    const { view, nodeId, ownSequence } = this.#options
    const batch = view.catchUpFrames.get(key)
    if (batch === undefined) return false
    const ownLowest = batch.authors.get(nodeId)
    if (ownLowest !== undefined && ownLowest <= ownSequence) return false
    view.catchUpFrames.notePassed(key)
    this.#batchIndex++
    this.#scannedTo = batch.max
    this.#sendFrame(batch.frame, batch.max, batch.entryCount)
    return true
  }

  #finishInitialStream(): void {
    if (this.#isStopped) return // by what sending the last batch has led to
    this.#isCaughtUp = true
    this.#options.view.catchUpFrames.leave()
    this.#target.onCaughtUp()
  }

  /**
   * True for a batch that reaches the end of the initial stream, or comes after it. At a final one a client takes
   * itself for up to date: what is sent again before that end must not say so.
   */
  #isFinal(max: number): boolean {
    return max >= this.#initialStreamEnd
  }

  /** True for the final batch that a client waits for, which is sent even when it is empty. */
  #endsInitialStream(max: number): boolean {
    return this.#isFinal(max) && this.#isWithinInitialStream
  }

  /** The next batch is one of the initial stream, be it sent again. */
  get #isWithinInitialStream(): boolean {
    return !this.#isCaughtUp || this.#chainEnd < this.#initialStreamEnd
  }

  #withoutOwn(entries: readonly DeliveredEntry[]): readonly DeliveredEntry[] {
    const isOwn = (entry: DeliveredEntry): boolean => this.#isOwn(entry)
    return entries.some(isOwn) ? entries.filter((entry) => !isOwn(entry)) : entries
  }

  /** True for what the client has written itself, and has. */
  #isOwn({ nodeId, deliverySequence, sequenceNumber }: DeliveredEntry): boolean {
    const { nodeId: ownNodeId, ownSequence } = this.#options
    return (
      nodeId === ownNodeId && (deliverySequence > this.#initialStreamEnd || sequenceNumber <= ownSequence)
    )
  }

  /** @param frames where the frame is found or kept, when other sessions are sent the same entries */
  #sendBatch(
    entries: readonly DeliveredEntry[],
    { max, frames }: { max: number; frames: SharedFrames | null },
  ): Frame {
    const frame = makeDeliveryFrame(
      {
        entries,
        base: this.#chainEnd,
        max,
        batchIndex: this.#isWithinInitialStream ? this.#batchIndex++ : 0,
        isFinal: this.#isFinal(max),
        format: this.#target.format,
        knownFields: this.#knownFields,
      },
      frames,
    )
    this.#sendFrame(frame, max, entries.length)
    return frame
  }

  #sendFrame(frame: Frame, max: number, entryCount: number): void {
    if (this.#inFlight.isEmpty) this.#wait.onWindowOpened()
    this.#inFlight.add({ base: this.#chainEnd, max, bytes: frame.bytes.byteLength })
    this.#lastBase = this.#chainEnd
    this.#isLastEmpty = entryCount === 0
    this.#chainEnd = max
    this.#target.sendDelivery(frame, entryCount)
  }
}
