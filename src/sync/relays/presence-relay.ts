import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import { ownValue } from '../../core/own-property.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { AwarenessState, ReceivedAwarenessMessage } from '../../protocol/messages.ts'
import type { ServerStore } from '../../store/store.ts'
import type { Audience, Audiences, RelayPeer } from './audiences.ts'
import { BoardFrames, GONE, PresenceBoard } from './presence-board.ts'
import type { PresenceFrames } from './presence-frame.ts'
import type { RecordValuesCache } from './record-values-cache.ts'

export interface PresenceRelayOptions {
  readonly store: Pick<ServerStore, 'readRecordValues'>
  readonly runtime: Runtime
  readonly logger: Logger
  /** Called with every author's state as it is set; null: the author no longer shows anything. */
  readonly onPresenceChanged?: (peer: RelayPeer, state: AwarenessState | null) => void
}

/** The presence of one session. */
interface Author {
  readonly id: number
  readonly peer: RelayPeer
  readonly tags: readonly string[]
  state: AwarenessState | null
  /** True when the state is to be sent to every receiver again, and not only to those that newly see it. */
  isFresh: boolean
  /** True while the store is being asked about the record at its cursor. */
  isWaiting: boolean
  /** True when its tenant has been told of it, and not since that it is gone. */
  isShown: boolean
  /** Audiences that have been told its cursor; some of them may no longer exist. */
  cursorShownTo: ReadonlySet<Audience>
}

/** What one flush sends. */
interface News {
  readonly updates: PresenceBoard
  readonly frames: BoardFrames
  /** The present states, for receivers that are new or have missed something. */
  readonly everything: BoardFrames
  readonly deadline: number
}

/** How often each receiver is sent news. Of several changes in between, only the newest state is sent. */
const FLUSH_INTERVAL_MS = 100
/** Time limit of one flush; the rest comes with the next. */
const FLUSH_BUDGET_MS = 20
/** Time left to operations after each flush, as a multiple of what the flush took. */
const IDLE_SHARE = 9
/** Clients drop what is not repeated within 30 s, and send no heartbeat themselves. */
const REFRESH_INTERVAL_MS = 20_000
/** Above any counter that clients number themselves by, which starts at 1. */
const FIRST_ID = 2 ** 20 + 1
/**
 * Unread bytes, beyond what a receiver was sent when it joined, above which it counts as behind. The answers to its
 * own writes queue behind these bytes: a second on a poor mobile link.
 */
const MAX_UNREAD_BYTES = 64 * 1024
/** Departures to be sent later to a receiver that is behind; it forgets the others by itself. */
const MAX_MISSED_DEPARTURES = 1000

/**
 * Tells clients which others are present and where their cursors are: at most every 100 ms, the newest state of
 * each.
 *
 *   receive ─▶ changed ─▶ (record values known?) ─▶ flush: who sees what now, against before ─▶ frames
 *
 * Audiences that may see the record at an author's cursor are shown the author with its cursor, the rest of its
 * tenant without. The latter is kept and encoded once for all of them, however many views they have.
 *
 * Cost: an update waits in a set, so a flood of them costs one entry. A flush costs as much as there are members
 * that see the change, and audiences that see the records of cursors; the others are never visited. It may take 20
 * ms, and at most a tenth of all time: in a room too large for that, everyone is told less often.
 *
 * @see docs/presence-and-blobs.md
 */
export class PresenceRelay {
  readonly #audiences: Audiences
  readonly #records: RecordValuesCache
  readonly #runtime: Runtime
  readonly #logger: Logger
  readonly #onChanged: PresenceRelayOptions['onPresenceChanged']
  readonly #authors = new Map<RelayPeer, Author>()
  /**
   * The states as they were last sent. A new receiver is shown these and not the newest: until it is known which
   * audiences may see a record, a cursor that has moved there is not shown at all.
   */
  readonly #shown = new PresenceBoard()
  readonly #changed = new Set<Author>()
  /** Clients that are to be sent everything that they see, with the departures that they have missed. */
  readonly #behind = new Map<RelayPeer, Set<number>>()
  #nextId = FIRST_ID
  #messageCount = 0
  #flushTimer: Timer | null = null
  #refreshTimer: Timer | null = null
  #flushNotBefore = 0
  #isStopped = false

  constructor(audiences: Audiences, records: RecordValuesCache, options: PresenceRelayOptions) {
    this.#audiences = audiences
    this.#records = records
    this.#runtime = options.runtime
    this.#logger = options.logger
    this.#onChanged = options.onPresenceChanged
  }

  /** The number of sessions, of all servers, that have shown something. */
  get size(): number {
    return this.#authors.size
  }

  /** True while the session shows something of itself. */
  shows(peer: RelayPeer): boolean {
    return (this.#authors.get(peer)?.state ?? null) !== null
  }

  /** The number of entries kept about what was shown to which audience. */
  get entryCount(): number {
    return this.#shown.size
  }

  /** Takes the sender's own entry from the message and ignores the rest. */
  receive(peer: RelayPeer, message: ReceivedAwarenessMessage): undefined {
    const { problem } = message
    if (problem !== undefined) {
      logEvent(this.#logger, LOG_EVENTS.presenceDropped, { sessionId: peer.id, problem })
    }
    const state = ownValue(message.states, String(message.clientId))
    if (state === undefined || !peer.isAccepted) return
    const author = this.#authors.get(peer) ?? (state === null ? undefined : this.#addAuthor(peer))
    if (author !== undefined) this.#setState(author, state)
  }

  onStreaming(peer: RelayPeer): void {
    const audience = this.#audiences.of(peer)
    if (audience === null || this.#isStopped) return
    this.#behind.set(peer, new Set())
    if (audience.members.size === 1) this.#decideCursorsAnew()
    this.#scheduleFlush()
  }

  /** @param left the audience that the session has left, if it was in one */
  onClosed(peer: RelayPeer, left: Audience | null): void {
    this.#behind.delete(peer)
    if (left !== null && left.members.size === 0) this.#shown.removeAudience(left)
    const author = this.#authors.get(peer)
    if (author === undefined) return
    this.#authors.delete(peer)
    this.#setState(author, null)
  }

  stop(): void {
    this.#isStopped = true
    this.#flushTimer?.cancel()
    this.#refreshTimer?.cancel()
    this.#flushTimer = null
    this.#refreshTimer = null
    this.#changed.clear()
    this.#behind.clear()
  }

  #addAuthor(peer: RelayPeer): Author {
    const author: Author = {
      id: this.#nextId++,
      peer,
      tags: peer.identity === null ? [] : this.#audiences.tenants.tagsOf(peer.identity.access),
      state: null,
      isFresh: false,
      isWaiting: false,
      isShown: false,
      cursorShownTo: new Set(),
    }
    this.#authors.set(peer, author)
    this.#scheduleRefresh()
    return author
  }

  #setState(author: Author, state: AwarenessState | null): void {
    author.state = state
    this.#onChanged?.(author.peer, state)
    author.isFresh = true
    this.#changed.add(author)
    this.#scheduleFlush()
  }

  /** Decides again who is shown each cursor, for a new audience; it already has authors without cursors by its tags. */
  #decideCursorsAnew(): void {
    for (const author of this.#authors.values()) {
      if (author.state?.cursor !== undefined) this.#changed.add(author)
    }
  }

  // ── time ───────────────────────────────────────────────────────────────────────────────────

  #scheduleFlush(): void {
    if (this.#flushTimer !== null || this.#isStopped) return
    const delayMs = Math.max(0, this.#flushNotBefore - this.#runtime.monotonicNow())
    this.#flushTimer = this.#runtime.setTimer(delayMs, () => this.#flush())
  }

  #scheduleRefresh(): void {
    if (this.#refreshTimer !== null || this.#isStopped) return
    this.#refreshTimer = this.#runtime.setTimer(REFRESH_INTERVAL_MS, () => {
      this.#refreshTimer = null
      void this.#refresh()
    })
  }

  /** Sends everything again, decided anew: a record may have moved out of an audience's sight. */
  async #refresh(): Promise<void> {
    if (this.#authors.size === 0) return
    const present = [...this.#authors.values()].filter((author) => author.state !== null)
    const records = present.flatMap((author) =>
      author.state?.cursor !== undefined && this.#dependsOnValues(author) ? [author.state.cursor] : [],
    )
    await this.#records.read(records) // all at once, so that all states go in one message
    for (const author of present) {
      if (this.#authors.get(author.peer) !== author) continue
      author.isFresh = true
      this.#changed.add(author)
    }
    this.#scheduleFlush()
    this.#scheduleRefresh()
  }

  #flush(): void {
    this.#flushTimer = null
    const startedAt = this.#runtime.monotonicNow()
    try {
      this.#tellAll(startedAt)
    } catch (error) {
      logEvent(this.#logger, LOG_EVENTS.presenceFailed, { err: error }) // all of it is sent again 20 s later
    }
    const tookMs = this.#runtime.monotonicNow() - startedAt
    this.#flushNotBefore = startedAt + Math.max(FLUSH_INTERVAL_MS, tookMs * (1 + IDLE_SHARE))
    if (this.#changed.size > 0 || this.#behind.size > 0) this.#scheduleFlush()
  }

  #tellAll(startedAt: number): void {
    const deadline = startedAt + FLUSH_BUDGET_MS
    const updates = this.#collectUpdates(this.#takeReady(), startedAt + FLUSH_BUDGET_MS / 2)
    const frames = this.#framesOf(updates)
    const everything = this.#framesOf(this.#shown)
    const news = { updates, frames, everything, deadline }
    const served = this.#sendMissed(news)
    this.#sendUpdates(news, served)
  }

  #isOver(deadline: number): boolean {
    return this.#runtime.monotonicNow() > deadline
  }

  // ── who sees what ──────────────────────────────────────────────────────────────────────────

  /** The changed authors that can be decided now; the store is asked about the others. */
  #takeReady(): readonly Author[] {
    const ready: Author[] = []
    const unknown: Author[] = []
    for (const author of this.#changed) {
      const cursor = author.state?.cursor
      if (cursor === undefined || !this.#dependsOnValues(author)) ready.push(author)
      else if (this.#records.peek(cursor) !== undefined) ready.push(author)
      else if (!author.isWaiting) unknown.push(author)
    }
    this.#changed.clear()
    if (unknown.length > 0) void this.#askStore(unknown)
    return ready
  }

  async #askStore(authors: readonly Author[]): Promise<void> {
    for (const author of authors) author.isWaiting = true
    await this.#records.read(authors.flatMap(({ state }) => (state?.cursor ? [state.cursor] : [])))
    for (const author of authors) {
      author.isWaiting = false
      if (this.#authors.get(author.peer) === author) this.#changed.add(author)
    }
    this.#scheduleFlush()
  }

  #dependsOnValues({ peer }: Author): boolean {
    return this.#audiences.areSelective || peer.identity?.access.view.isSelective === true
  }

  /** Collects what is to be sent. Authors for which there is no time stay marked as changed. */
  #collectUpdates(authors: readonly Author[], deadline: number): PresenceBoard {
    const updates = new PresenceBoard()
    for (const author of authors) {
      if (this.#isOver(deadline)) this.#changed.add(author)
      else if (author.state === null) this.#hide(author, updates)
      else this.#show(author, author.state, updates)
    }
    return updates
  }

  #show(author: Author, state: AwarenessState, updates: PresenceBoard): void {
    const { id, tags, isFresh, cursorShownTo: before } = author
    const now = this.#audiencesAtCursor(author)
    const { whole, user } = textsOf(state)
    this.#shown.show(tags, id, user)
    if (isFresh) updates.show(tags, id, user)
    for (const audience of before) {
      if (now.has(audience)) continue
      this.#shown.hideFrom(audience, id)
      if (!isTenant(author, audience)) updates.showTo(audience, id, GONE)
      else if (!isFresh) updates.showTo(audience, id, user)
    }
    for (const audience of now) {
      this.#shown.showTo(audience, id, whole)
      if (isFresh || !before.has(audience)) updates.showTo(audience, id, whole)
    }
    author.isShown = true
    author.isFresh = false
    author.cursorShownTo = now
  }

  #hide(author: Author, updates: PresenceBoard): void {
    const { id, tags, isShown, cursorShownTo } = author
    this.#shown.hide(tags, id)
    if (isShown) updates.show(tags, id, GONE)
    for (const audience of cursorShownTo) {
      this.#shown.hideFrom(audience, id)
      if (!isTenant(author, audience)) updates.showTo(audience, id, GONE)
    }
    author.isShown = false
    author.isFresh = false
    author.cursorShownTo = new Set()
  }

  /** The audiences that may see the record at the author's cursor; none where the author may not. */
  #audiencesAtCursor(author: Author): ReadonlySet<Audience> {
    const access = author.peer.identity?.access
    const cursor = author.state?.cursor
    if (cursor === undefined || access === undefined) return new Set()
    const values = this.#dependsOnValues(author) ? (this.#records.peek(cursor) ?? {}) : {}
    // An author may not point at a record that it does not see: a cursor is no way into another tenant.
    if (!access.sees(cursor.collection, values)) return new Set()
    return new Set(this.#audiences.seeing(cursor.collection, values))
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────

  /** Sends new receivers, and those that have missed something, everything that they see. */
  #sendMissed({ frames, everything, deadline }: News): ReadonlySet<RelayPeer> {
    const served = new Set<RelayPeer>()
    for (const [peer, missed] of this.#behind) {
      const audience = this.#audiences.of(peer)
      if (audience === null) continue
      noteDepartures(missed, frames.departuresFor(audience))
      if (peer.bufferedBytes > MAX_UNREAD_BYTES || this.#isOver(deadline)) continue
      const all = missed.size === 0 ? everything.of(audience) : everything.withDepartures(audience, missed)
      if (!this.#send(peer, all)) continue
      this.#behind.delete(peer)
      served.add(peer)
    }
    return served
  }

  /**
   * Sends the updates. A receiver that is behind, or for which there is no time, is sent everything in the next
   * round.
   */
  #sendUpdates({ updates, frames, everything, deadline }: News, served: ReadonlySet<RelayPeer>): void {
    const concerned = this.#audiences.sharing(updates.tags)
    for (const audience of updates.audiences) concerned.add(audience)
    for (const audience of concerned) {
      for (const peer of audience.members) {
        if (served.has(peer) || this.#behind.has(peer)) continue
        const keepsUp = !this.#isOver(deadline) && readsAlong(peer, audience, everything)
        if (keepsUp && this.#send(peer, frames.of(audience))) continue
        this.#behind.set(peer, noteDepartures(new Set(), frames.departuresFor(audience)))
      }
    }
  }

  /** @returns false when the receiver's buffer is full */
  #send(peer: RelayPeer, presence: PresenceFrames): boolean {
    if (!peer.readsJson) return true // presence has no other form
    const frame = presence.for(this.#authors.get(peer)?.id)
    return frame === null || peer.sendShared(frame)
  }

  #framesOf(board: PresenceBoard): BoardFrames {
    return new BoardFrames(board, () => this.#nextMessageId())
  }

  #nextMessageId(): string {
    this.#messageCount++
    return `presence-${this.#messageCount}`
  }
}

/** False for a receiver with more unread bytes than sending it everything again would take. */
function readsAlong({ bufferedBytes }: RelayPeer, audience: Audience, everything: BoardFrames): boolean {
  if (bufferedBytes <= MAX_UNREAD_BYTES) return true // nearly all, at no cost
  return bufferedBytes <= MAX_UNREAD_BYTES + everything.of(audience).byteLength
}

function isTenant({ tags }: Author, audience: Audience): boolean {
  return audience.tags.some((tag) => tags.includes(tag))
}

/** Notes departures for a receiver that could not be told of them. */
function noteDepartures(missed: Set<number>, ids: readonly number[]): Set<number> {
  for (const id of ids) if (missed.size < MAX_MISSED_DEPARTURES) missed.add(id)
  return missed
}

/** The state with its cursor and without, as JSON. */
function textsOf({ user, cursor }: AwarenessState): { readonly whole: string; readonly user: string } {
  const whole = JSON.stringify(cursor === undefined ? { user } : { user, cursor })
  return { whole, user: cursor === undefined ? whole : JSON.stringify({ user }) }
}
