import type { Runtime, Timer } from '../../core/runtime.ts'
import type { RelayPeer } from './audiences.ts'

export interface PeerRequest {
  readonly requester: RelayPeer
  readonly requestId: string
  readonly hash: string
  readonly candidates: Iterable<RelayPeer>
  /** Called once, with null when nobody has it; not at all once the requester has gone. */
  onAnswered(bytes: Uint8Array | null): void
}

interface Pending extends PeerRequest {
  /** What the peers know it by: ids of clients are theirs and may collide. */
  readonly wireId: string
  /** Not asked yet. */
  readonly waiting: RelayPeer[]
  /** Asked and not answered yet. */
  readonly asked: Set<RelayPeer>
  readonly expiresAt: number
  timer: Timer | null
}

/** Clients wait that long for an answer. */
const EXPIRE_AFTER_MS = 30_000
/** Peers asked at a time: each that has the chunk sends all of it. */
const PEERS_PER_WAVE = 4
const WAVE_INTERVAL_MS = 1000
const MAX_PENDING_PER_REQUESTER = 16
const MAX_PENDING = 10_000

/**
 * Asks clients for content that another client wants.
 *
 *   waiting ─▶ asked ─┬─▶ bytes: answered
 *      ▲              └─▶ null, gone, or silent for a second: the next ones are asked
 *      └──────────────────┘       nobody left: answered with null · 30 s: forgotten
 */
export class PeerRequests {
  readonly #runtime: Runtime
  readonly #pendingByWireId = new Map<string, Pending>()
  readonly #pendingByRequester = new Map<RelayPeer, Map<string, Pending>>()
  readonly #pendingByAsked = new Map<RelayPeer, Set<Pending>>()
  #count = 0

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  get size(): number {
    return this.#pendingByWireId.size
  }

  /** A request that is still pending under the same id is not asked again. */
  ask(request: PeerRequest): void {
    const { requester, requestId } = request
    const own = this.#pendingByRequester.get(requester)
    if (own?.has(requestId)) return
    const isFull = this.size >= MAX_PENDING || (own?.size ?? 0) >= MAX_PENDING_PER_REQUESTER
    if (isFull || !requester.isAccepted) {
      request.onAnswered(null)
      return
    }
    this.#count++
    const pending: Pending = {
      ...request,
      wireId: `blob-${this.#count}`,
      waiting: [...request.candidates],
      asked: new Set(),
      expiresAt: this.#runtime.monotonicNow() + EXPIRE_AFTER_MS,
      timer: null,
    }
    this.#pendingByWireId.set(pending.wireId, pending)
    if (own === undefined) this.#pendingByRequester.set(requester, new Map([[requestId, pending]]))
    else own.set(requestId, pending)
    this.#askNext(pending)
  }

  /** The hash that this peer was asked for under the id, or null when it was not. */
  hashOf(peer: RelayPeer, wireId: string): string | null {
    const pending = this.#pendingByWireId.get(wireId)
    return pending?.asked.has(peer) ? pending.hash : null
  }

  /** @param bytes verified; null: the peer has nothing */
  onAnswer(peer: RelayPeer, wireId: string, bytes: Uint8Array | null): void {
    const pending = this.#pendingByWireId.get(wireId)
    if (pending === undefined) return
    if (bytes !== null) {
      this.#forget(pending)
      pending.onAnswered(bytes)
    } else if (pending.asked.has(peer)) {
      this.#unask(pending, peer)
      if (pending.asked.size === 0) this.#askNext(pending)
    }
  }

  onClosed(peer: RelayPeer): void {
    for (const pending of this.#pendingByRequester.get(peer)?.values() ?? []) this.#forget(pending)
    for (const pending of this.#pendingByAsked.get(peer) ?? []) this.onAnswer(peer, pending.wireId, null)
  }

  stop(): void {
    for (const pending of this.#pendingByWireId.values()) this.#forget(pending)
  }

  #askNext(pending: Pending): void {
    pending.timer?.cancel()
    pending.timer = null
    for (const peer of pending.waiting.splice(0, PEERS_PER_WAVE)) {
      if (peer.state !== 'streaming' || !peer.canSend()) continue
      pending.asked.add(peer)
      const asked = this.#pendingByAsked.get(peer)
      if (asked === undefined) this.#pendingByAsked.set(peer, new Set([pending]))
      else asked.add(pending)
      const { hash, wireId } = pending
      peer.send({ type: 'blob-chunk-request', messageId: peer.nextMessageId(), requestId: wireId, hash })
    }
    if (pending.asked.size === 0 && pending.waiting.length === 0) {
      this.#forget(pending)
      pending.onAnswered(null)
      return
    }
    this.#scheduleNext(pending)
  }

  #scheduleNext(pending: Pending): void {
    const remainingMs = pending.expiresAt - this.#runtime.monotonicNow()
    if (remainingMs <= 0) {
      this.#forget(pending)
      return
    }
    const delayMs = pending.waiting.length === 0 ? remainingMs : Math.min(remainingMs, WAVE_INTERVAL_MS)
    pending.timer = this.#runtime.setTimer(delayMs, () => this.#askNext(pending))
  }

  #unask(pending: Pending, peer: RelayPeer): void {
    pending.asked.delete(peer)
    const asked = this.#pendingByAsked.get(peer)
    asked?.delete(pending)
    if (asked?.size === 0) this.#pendingByAsked.delete(peer)
  }

  #forget(pending: Pending): void {
    pending.timer?.cancel()
    pending.timer = null
    for (const peer of [...pending.asked]) this.#unask(pending, peer)
    this.#pendingByWireId.delete(pending.wireId)
    const own = this.#pendingByRequester.get(pending.requester)
    own?.delete(pending.requestId)
    if (own?.size === 0) this.#pendingByRequester.delete(pending.requester)
  }
}
