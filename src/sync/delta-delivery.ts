import { sortCausally } from '../core/causal-order.ts'
import { KoraServerError } from '../core/errors.ts'
import type { Operation } from '../core/operation.ts'
import type { Runtime } from '../core/runtime.ts'
import type { VersionVector } from '../core/version-vector.ts'
import { encodeDeliveryFrame } from '../protocol/codec.ts'
import { decodeDeltaCursor, encodeDeltaCursor } from '../protocol/delta-cursor.ts'
import type { Frame } from '../protocol/frame.ts'
import type { AcknowledgmentMessage } from '../protocol/messages.ts'
import { operationIdOf, operationOfWireJson } from '../protocol/wire-identity.ts'
import type { DeliveredEntry, DeliveryPage, ServerStore } from '../store/store.ts'
import { AcknowledgmentWait } from './acknowledgment-wait.ts'
import { batchLength, endOf, MAX_BATCH_BYTES } from './batch-cut.ts'
import type { Delivery, DeliveryTarget } from './delivery.ts'
import { knownFieldsOf, wireJsonFor } from './known-fields.ts'
import type { FeedWindow, SharedView } from './views.ts'

export interface DeltaDeliveryOptions {
  readonly store: Pick<ServerStore, 'readDelivery' | 'readMissing' | 'registerNode' | 'getSchema'>
  readonly runtime: Runtime
  readonly view: SharedView
  readonly feed: FeedWindow
  readonly nodeId: string
  readonly batchSize: number
  /** What the client has, by node. */
  readonly vector: VersionVector
  /** Above this delivery sequence the vector may hide a gap; 0: unknown; `EMPTY_LOG`: from the start. */
  readonly legacyPosition: number
  /** What is acknowledged here counts in the next session of the node. */
  readonly speaksForNode: boolean
  /** As the node was registered at the handshake: what is acknowledged counts as long as it is this view's. */
  readonly registeredEra: string | null
  /** Where the client stopped in an earlier delta. */
  readonly deltaCursor: string | undefined
  /** Of the client, which tells what it has columns for. */
  readonly schemaVersion: number
}

/** A delta up to this size is sorted in memory, as these clients expect; a larger one is streamed. */
const MAX_SORTED_ENTRIES = 10_000
const MAX_SORTED_BYTES = 4 * 1024 * 1024
/** Batches that may be on their way unacknowledged. */
const WINDOW_BATCHES = 16
/** What was acknowledged since is sent again after a crash; each time it is noted costs a write. */
const SAVE_INTERVAL_MS = 60_000

interface Batch {
  readonly entries: readonly DeliveredEntry[]
  readonly isFinal: boolean
  readonly batchIndex: number
  readonly totalBatches?: number
  readonly cursor?: string
  /** Everything up to here is delivered once this batch and all before it are acknowledged. */
  readonly position: number
}

interface BatchInFlight {
  readonly messageId: string
  readonly frame: Frame
  readonly batch: Batch
  isAcknowledged: boolean
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
  readonly #batches: AsyncIterator<Batch, void>
  #inFlight: BatchInFlight[] = []
  #position: number | null = null
  #sentTo: number
  /** While it reads the store. @see DeliveryStream */
  #readingThrough: number | null = null
  #isPulling = false
  #pullsAgain = false
  #isStopped = false
  #isLive = false
  readonly #startedAt: number
  #messageCount = 0
  readonly #wait: AcknowledgmentWait
  #savedPosition: number
  /** null: not in this session */
  #savedAt: number | null = null

  constructor(target: DeliveryTarget, options: DeltaDeliveryOptions) {
    this.#target = target
    this.#options = options
    this.#sentTo = options.feed.head
    this.#startedAt = Math.floor(options.runtime.now())
    this.#batches = this.#deltaBatches()
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

  /** It has no watermark that could be behind. */
  get lag(): null {
    return null
  }

  pump(): void {
    // While it pulls, it may just have seen that there is nothing.
    if (this.#isPulling) this.#pullsAgain = true
    else if (!this.#isStopped) void this.#pull()
  }

  acknowledge({ acknowledgedMessageId }: AcknowledgmentMessage): void {
    const acknowledged = this.#inFlight.find((batch) => batch.messageId === acknowledgedMessageId)
    if (acknowledged === undefined) return
    acknowledged.isAcknowledged = true
    this.#wait.onAcknowledged()
    while (this.#inFlight[0]?.isAcknowledged) {
      const { batch } = this.#inFlight.shift() ?? acknowledged
      this.#position = batch.position
    }
    if (this.#isSaveDue()) void this.#savePosition()
    this.pump()
  }

  /** Nothing that it acknowledges is a place to start from again. */
  isApplied(): boolean {
    return false
  }

  checkProgress(): 'ok' | 'resent' | 'stalled' {
    if (this.#inFlight.length === 0) return 'ok'
    const waited = this.#wait.check()
    if (waited !== 'resend') return waited
    for (const { frame, batch } of this.#inFlight) this.#target.sendDelivery(frame, batch.entries.length)
    return 'resent'
  }

  excuse(): void {
    this.#wait.excuse()
  }

  /** There is no watermark to move. */
  skipInvisibleTail(): boolean {
    return true // it has no watermark
  }

  stop(): void {
    this.#isStopped = true
    void this.#savePosition()
  }

  /**
   * Remembers what the client has acknowledged, for its next session. Where the node has come with other live
   * queries since, as another tab does, it does not count: it would hide what those show and these do not.
   */
  async #savePosition(): Promise<void> {
    const { store, nodeId, runtime, speaksForNode, registeredEra } = this.#options
    const position = this.#position
    if (!speaksForNode || position === null || position <= this.#savedPosition) return
    this.#savedPosition = position
    this.#savedAt = runtime.monotonicNow()
    // Best effort: without it the next session repeats what the client already has.
    await store
      .registerNode({ nodeId, legacyPosition: position }, { scopeEra: registeredEra })
      .catch(() => {})
  }

  /** Once it has all that it came for, and from then on now and then. */
  #isSaveDue(): boolean {
    if (this.#savedAt === null) return this.#isLive && this.#inFlight.length === 0
    return this.#options.runtime.monotonicNow() - this.#savedAt >= SAVE_INTERVAL_MS
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
    while (!this.#isStopped && this.#inFlight.length < WINDOW_BATCHES && this.#target.canSend()) {
      const batch = this.#isLive ? await this.#nextLiveBatch() : await this.#nextDeltaBatch()
      if (batch === null || this.#isStopped) return
      this.#send(batch)
      if (!this.#isLive && batch.isFinal) {
        this.#isLive = true
        this.#target.onCaughtUp()
      }
    }
  }

  async #nextDeltaBatch(): Promise<Batch | null> {
    const next = await this.#batches.next()
    return next.done ? null : next.value
  }

  async #nextLiveBatch(): Promise<Batch | null> {
    const { feed, view, nodeId } = this.#options
    while (this.#sentTo < feed.head) {
      const { found, end } = await this.#readLive()
      const visible = found.slice(0, batchLength(found, view.view))
      const position = visible.length < found.length ? endOf(visible) : end
      this.#sentTo = position
      const entries = visible.filter((entry) => entry.nodeId !== nodeId)
      if (entries.length > 0) return { entries, isFinal: true, batchIndex: 0, position }
    }
    return null
  }

  /** The next visible entries, and up to where there are no others. */
  async #readLive(): Promise<{ found: readonly DeliveredEntry[]; end: number }> {
    const { feed, view, store, batchSize } = this.#options
    if (view.covers(this.#sentTo)) {
      const { entries, isAll } = view.entriesAfter(this.#sentTo, batchSize, MAX_BATCH_BYTES)
      return { found: entries, end: isAll ? feed.head : endOf(entries) }
    }
    const query = { after: this.#sentTo, view: view.view, limit: batchSize, maxBytes: MAX_BATCH_BYTES }
    this.#readingThrough = feed.head
    try {
      const page = await store.readDelivery(query)
      return { found: page.entries, end: page.scannedTo }
    } finally {
      this.#readingThrough = null
    }
  }

  #send(batch: Batch): void {
    this.#messageCount++
    // Of this session: what a polling client acknowledges may be of its last one.
    const messageId = `b-${this.#startedAt.toString(36)}-${this.#messageCount}`
    const { entries, position: _, ...header } = batch
    const { store, schemaVersion } = this.#options
    const knownFields = knownFieldsOf(schemaVersion, store.getSchema())
    const frame = encodeDeliveryFrame(
      { messageId, ...header },
      entries.map((entry) => wireJsonFor(entry, knownFields)),
      this.#target.format,
    )
    if (this.#inFlight.length === 0) this.#wait.onWindowOpened()
    this.#inFlight.push({ messageId, frame, batch, isAcknowledged: false })
    this.#target.sendDelivery(frame, entries.length)
  }

  // ── the delta ──────────────────────────────────────────────────────────────────────────────

  async *#deltaBatches(): AsyncGenerator<Batch, void> {
    const end = this.#sentTo
    const missing = await this.#readMissing(MAX_SORTED_ENTRIES)
    if (missing.isComplete) yield* this.#sortedBatches(missing.entries, end)
    else yield* this.#streamedBatches(end)
  }

  /**
   * What the client has read of an earlier delta its vector covers, or it takes it for duplicates:
   * its cursor leaves nothing out, because what was stored since may sort before it.
   */
  *#sortedBatches(entries: readonly DeliveredEntry[], end: number): Generator<Batch, void> {
    const { deltaCursor } = this.#options
    const cursor = deltaCursor === undefined ? null : decodeDeltaCursor(deltaCursor)
    const batches = this.#cut(sortEntries(entries))
    const positions = positionsAfter(batches, end)
    const totalBatches = Math.max(1, batches.length)
    for (let index = 0; index < totalBatches; index++) {
      const batch = batches[index] ?? []
      const last = batch[batch.length - 1]
      yield {
        entries: batch,
        isFinal: index === totalBatches - 1,
        batchIndex: last === undefined ? (cursor?.batchIndex ?? 0) : index,
        totalBatches,
        ...(last && {
          cursor: encodeDeltaCursor({ lastOperationId: operationIdOf(last.wireJson), batchIndex: index }),
        }),
        position: positions[index] ?? end,
      }
    }
  }

  #cut(entries: readonly DeliveredEntry[]): (readonly DeliveredEntry[])[] {
    const { batchSize, view } = this.#options
    const batches: (readonly DeliveredEntry[])[] = []
    for (let start = 0; start < entries.length; ) {
      const next = entries.slice(start, start + batchSize)
      const batch = next.slice(0, batchLength(next, view.view))
      batches.push(batch)
      start += batch.length
    }
    return batches
  }

  /** Too much to sort: in commit order, which puts causes first wherever they were pushed first. */
  async *#streamedBatches(end: number): AsyncGenerator<Batch, void> {
    const { view } = this.#options.view
    let after = 0
    let batchIndex = 0
    for (;;) {
      const page = await this.#readStreamed(after)
      const entries = page.entries.slice(0, batchLength(page.entries, view))
      const isCut = entries.length < page.entries.length
      after = isCut ? endOf(entries) : page.scannedTo
      const isFinal = page.isLast && !isCut
      if (entries.length === 0 && !isFinal) continue
      yield { entries, isFinal, batchIndex: batchIndex++, position: isFinal ? end : after }
      if (isFinal) return
    }
  }

  /** Below the position what the vector lacks; above it everything, because the vector may hide a gap there. */
  async #readStreamed(after: number): Promise<DeliveryPage<DeliveredEntry>> {
    const { store, vector, view, batchSize, legacyPosition } = this.#options
    const query = { after, view: view.view, limit: batchSize, maxBytes: MAX_BATCH_BYTES }
    if (legacyPosition !== 0 && after >= legacyPosition) return store.readDelivery(query)
    const page = await store.readMissing(vector, query)
    if (legacyPosition === 0 || page.scannedTo <= legacyPosition) return page
    const entries = page.entries.filter((entry) => entry.deliverySequence <= legacyPosition)
    return { entries, scannedTo: legacyPosition, isLast: false }
  }

  /** What the vector lacks, and what came after the last acknowledged live batch. */
  async #readMissing(limit: number): Promise<{ entries: DeliveredEntry[]; isComplete: boolean }> {
    const { store, vector, view, legacyPosition } = this.#options
    const query = { view: view.view, limit, maxBytes: MAX_SORTED_BYTES }
    const missing = await store.readMissing(vector, { ...query, after: 0 })
    const bySequence = new Map(missing.entries.map((entry) => [entry.deliverySequence, entry]))
    let isComplete = missing.isLast
    if (legacyPosition !== 0) {
      const later = await store.readDelivery({ ...query, after: Math.max(0, legacyPosition) })
      for (const entry of later.entries) bySequence.set(entry.deliverySequence, entry)
      isComplete &&= later.isLast
    }
    return { entries: [...bySequence.values()], isComplete }
  }
}

/** Up to where everything has been sent after each batch: below the lowest that is still to come. */
function positionsAfter(batches: readonly (readonly DeliveredEntry[])[], end: number): readonly number[] {
  const positions: number[] = []
  let position = end
  for (const batch of batches.toReversed()) {
    positions.unshift(position)
    for (const entry of batch) position = Math.min(position, entry.deliverySequence - 1)
  }
  return positions
}

/**
 * Causes first, and each node's operations in the order of their numbers: a client that is cut off
 * says by the highest number what it has. Of snapshots the numbers are newer than the clocks, which
 * alone would bring a high number before a low one.
 */
function sortEntries(entries: readonly DeliveredEntry[]): readonly DeliveredEntry[] {
  try {
    return sortCausally(sortableEntries(entries)).map(({ entry }) => entry)
  } catch (error) {
    if (!(error instanceof KoraServerError) || error.code !== 'CAUSAL_CYCLE') throw error
    return entries.toSorted((a, b) => a.deliverySequence - b.deliverySequence) // somebody made up causes
  }
}

type SortableEntry = Pick<Operation, 'id' | 'timestamp' | 'causalDeps'> & { readonly entry: DeliveredEntry }

/** With a key of its own for each entry: the operations of a snapshot may be in the log twice. */
function sortableEntries(entries: readonly DeliveredEntry[]): readonly SortableEntry[] {
  const keyById = new Map(
    entries.map((entry) => [operationIdOf(entry.wireJson), String(entry.deliverySequence)]),
  )
  const lastKeyByNode = new Map<string, string>()
  return entries
    .toSorted((a, b) => a.sequenceNumber - b.sequenceNumber || a.deliverySequence - b.deliverySequence)
    .map((entry) => {
      const { timestamp, causalDeps } = operationOfWireJson(entry.wireJson)
      const id = String(entry.deliverySequence)
      const before = lastKeyByNode.get(entry.nodeId)
      lastKeyByNode.set(entry.nodeId, id)
      const causes = causalDeps.flatMap((dependency) => keyById.get(dependency) ?? [])
      return { entry, id, timestamp, causalDeps: before === undefined ? causes : [...causes, before] }
    })
}
