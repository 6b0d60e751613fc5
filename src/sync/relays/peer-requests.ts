import { addTo, removeFrom } from '../../core/map-of-sets.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { RelayPeer } from './audiences.ts'
import { CONTENT_WAIT_MS } from './content-wait.ts'

export interface PeerRequest {
  readonly requester: RelayPeer
  readonly hash: string
  /** The clients to ask, the likeliest first. */
  readonly candidates: Iterable<RelayPeer>
  /** Ends the request, with null. */
  readonly signal?: AbortSignal
  /** Called once: with the bytes, or with null when no client has them, the time is over, or the requester has gone. */
  onAnswered(bytes: Uint8Array | null): void
}

interface Pending extends PeerRequest {
  /** The id that is sent to peers: clients choose their own ids, which may collide. */
  readonly wireId: string
  /** Clients not asked yet. */
  readonly waiting: RelayPeer[]
  /** Clients that were asked and have not answered. */
  readonly asked: Set<RelayPeer>
  readonly expiresAt: number
  timer: Timer | null
}

/** Peers asked at a time: each that has the chunk sends all of it. */
const PEERS_PER_WAVE = 4
const WAVE_INTERVAL_MS = 1000
const MAX_PENDING = 10_000

/**
 * Asks clients for content that another client wants.
 *
 *   waiting ─▶ asked ─┬─▶ bytes: answered
 *      ▲              └─▶ null, gone, or silent for a second: the next ones are asked
 *      └──────────────────┘       nobody left, or 30 s over: answered with null
 */
export class PeerRequests {
  readonly #runtime: Runtime
  readonly #pendingByWireId = new Map<string, Pending>()
  readonly #pendingByRequester = new Map<RelayPeer, Set<Pending>>()
  readonly #pendingByAsked = new Map<RelayPeer, Set<Pending>>()
  #count = 0

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  get size(): number {
    return this.#pendingByWireId.size
  }

  ask(request: PeerRequest): void {
    const { requester } = request
    if (this.size >= MAX_PENDING || !requester.isAccepted) {
      request.onAnswered(null)
      return
    }
    this.#count++
    const pending: Pending = {
      ...request,
      wireId: `blob-${this.#count}`,
      waiting: [...request.candidates],
      asked: new Set(),
      expiresAt: this.#runtime.monotonicNow() + CONTENT_WAIT_MS,
      timer: null,
    }
    this.#pendingByWireId.set(pending.wireId, pending)
    addTo(this.#pendingByRequester, requester, pending)
    request.signal?.addEventListener('abort', () => this.#end(pending, null))
    this.#askNext(pending)
  }

  /** The hash that this peer was asked for under the id, or null when it was not asked. */
  hashOf(peer: RelayPeer, wireId: string): string | null {
    const pending = this.#pendingByWireId.get(wireId)
    return pending?.asked.has(peer) ? pending.hash : null
  }

  /** @param bytes verified; null: the peer does not have them */
  onAnswer(peer: RelayPeer, wireId: string, bytes: Uint8Array | null): void {
    const pending = this.#pendingByWireId.get(wireId)
    if (pending === undefined) return
    if (bytes !== null) this.#end(pending, bytes)
    else if (pending.asked.has(peer)) {
      this.#unask(pending, peer)
      if (pending.asked.size === 0) this.#askNext(pending)
    }
  }

  onClosed(peer: RelayPeer): void {
    for (const pending of this.#pendingByRequester.get(peer) ?? []) this.#end(pending, null)
    for (const pending of this.#pendingByAsked.get(peer) ?? []) this.onAnswer(peer, pending.wireId, null)
  }

  stop(): void {
    for (const pending of this.#pendingByWireId.values()) this.#end(pending, null)
  }

  #askNext(pending: Pending): void {
    pending.timer?.cancel()
    pending.timer = null
    let askedCount = 0
    while (askedCount < PEERS_PER_WAVE) {
      const peer = pending.waiting.shift()
      if (peer === undefined) break
      if (peer.state !== 'streaming' || !peer.canSend()) continue
      askedCount++
      pending.asked.add(peer)
      addTo(this.#pendingByAsked, peer, pending)
      const { hash, wireId } = pending
      peer.send({ type: 'blob-chunk-request', messageId: peer.nextMessageId(), requestId: wireId, hash })
    }
    if (pending.asked.size === 0 && pending.waiting.length === 0) {
      this.#end(pending, null)
      return
    }
    this.#scheduleNext(pending)
  }

  #scheduleNext(pending: Pending): void {
    const remainingMs = pending.expiresAt - this.#runtime.monotonicNow()
    if (remainingMs <= 0) {
      this.#end(pending, null)
      return
    }
    const delayMs = pending.waiting.length === 0 ? remainingMs : Math.min(remainingMs, WAVE_INTERVAL_MS)
    pending.timer = this.#runtime.setTimer(delayMs, () => this.#askNext(pending))
  }

  #unask(pending: Pending, peer: RelayPeer): void {
    pending.asked.delete(peer)
    removeFrom(this.#pendingByAsked, peer, pending)
  }

  #end(pending: Pending, bytes: Uint8Array | null): void {
    if (!this.#pendingByWireId.delete(pending.wireId)) return
    pending.timer?.cancel()
    pending.timer = null
    for (const peer of [...pending.asked]) this.#unask(pending, peer)
    removeFrom(this.#pendingByRequester, pending.requester, pending)
    pending.onAnswered(bytes)
  }
}
