import { isContentOf } from '../../core/blob-ref.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { ClusterBus } from '../../store/cluster-bus.ts'
import type { RelayPeer } from '../relays/audiences.ts'
import type { BlobRelay } from '../relays/blob-relay.ts'
import { CONTENT_WAIT_MS } from '../relays/content-wait.ts'
import { type BlobAnswer, type BlobQuestion, parseBlobAnswer, parseBlobQuestion } from './cluster-messages.ts'
import { describePeer, RemotePeer } from './remote-peer.ts'

const ASK = 'blob-ask'
const ANSWER = 'blob-answer'
const MAX_PENDING = 1000
/** Questions that wait to be answered with "nobody has it": as many as ten servers ask at a time. */
const MAX_UNTOLD = 10 * MAX_PENDING

interface Pending {
  readonly hash: string
  /** The question as it is published. */
  readonly question: string
  /** Servers that have not answered. */
  readonly waiting: Set<string>
  readonly timer: Timer
  readonly resolve: (bytes: Uint8Array | null) => void
}

/** Asks the other servers for content that no client of this one has. */
export class ClusterBlobs {
  readonly #bus: ClusterBus
  readonly #relay: BlobRelay
  readonly #runtime: Runtime
  readonly #pending = new Map<string, Pending>()
  /** Clients of other servers on whose behalf this server is searching. */
  readonly #requesters = new Set<RemotePeer>()
  readonly #endings: readonly (() => void)[]
  /** Ids of questions of this server that have not been published. */
  readonly #unasked = new Set<string>()
  /** Ids of other servers' questions that are to be answered with nothing. */
  readonly #untold = new Set<string>()
  #askedCount = 0
  #isStopped = false

  constructor(bus: ClusterBus, relay: BlobRelay, runtime: Runtime) {
    this.#bus = bus
    this.#relay = relay
    this.#runtime = runtime
    this.#endings = [
      bus.subscribe(ASK, (payload, serverId) => this.#onAsked(parseBlobQuestion(payload), serverId)),
      bus.subscribe(ANSWER, (payload, serverId) => this.#onAnswer(parseBlobAnswer(payload), serverId)),
    ]
  }

  /** @returns null when no client of another server has it, or once the signal aborts */
  ask(requester: RelayPeer, hash: string, signal?: AbortSignal): Promise<Uint8Array | null> {
    const members = this.#bus.members()
    const isPossible = members.size > 0 && this.#pending.size < MAX_PENDING && !this.#isStopped
    if (requester.identity === null || !isPossible) return Promise.resolve(null)
    const id = `${this.#bus.serverId}/${++this.#askedCount}`
    const peer = describePeer(requester.identity)
    const question = JSON.stringify({ id, session: requester.id, hash, peer })
    return new Promise((resolve) => {
      const timer = this.#runtime.setTimer(CONTENT_WAIT_MS, () => this.#settle(id, null))
      this.#pending.set(id, { hash, question, waiting: new Set(members), timer, resolve })
      signal?.addEventListener('abort', () => this.#settle(id, null))
      this.#unasked.add(id)
      this.#bus.publishFrom(ASK, this.#takeQuestion)
    })
  }

  readonly #takeQuestion = (): string | null => {
    const id = takeFirst(this.#unasked)
    return id === null ? null : (this.#pending.get(id)?.question ?? null)
  }

  onLeft(serverId: string): void {
    for (const id of [...this.#pending.keys()]) this.#onNothing(id, serverId)
    for (const requester of this.#requesters) {
      if (requester.id.startsWith(`${serverId}/`)) this.#close(requester)
    }
  }

  stop(): void {
    this.#isStopped = true
    for (const end of this.#endings) end()
    for (const id of [...this.#pending.keys()]) this.#settle(id, null)
    for (const requester of this.#requesters) this.#close(requester)
  }

  /**
   * Access is decided here: whether the other server's client may have the content follows the same rules as for
   * our own clients.
   */
  async #onAsked({ id, session, hash, peer }: BlobQuestion, serverId: string): Promise<void> {
    const bytes = await this.#findFor(new RemotePeer(`${serverId}/${session}`, peer), hash)
    const text = bytes === null ? null : Buffer.from(bytes).toString('base64')
    if (text !== null && this.#bus.publish(ANSWER, JSON.stringify({ id, bytes: text }))) return
    // Even where there is no room for what was found: the other server would otherwise wait in vain.
    if (this.#untold.size < MAX_UNTOLD) this.#untold.add(id)
    this.#bus.publishFrom(ANSWER, this.#takeNothing)
  }

  readonly #takeNothing = (): string | null => {
    const id = takeFirst(this.#untold)
    return id === null ? null : JSON.stringify({ id, bytes: null })
  }

  /** Searches for no longer than the other server waits. Never rejects. */
  async #findFor(requester: RemotePeer, hash: string): Promise<Uint8Array | null> {
    this.#requesters.add(requester)
    const timer = this.#runtime.setTimer(CONTENT_WAIT_MS, () => this.#close(requester))
    try {
      return await this.#relay.findAmongPeers(requester, hash)
    } catch {
      return null
    } finally {
      timer.cancel()
      this.#requesters.delete(requester)
    }
  }

  #close(requester: RemotePeer): void {
    requester.isAccepted = false
    this.#relay.onClosed(requester)
  }

  #onAnswer({ id, bytes: text }: BlobAnswer, serverId: string): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    const bytes = text === null ? null : Buffer.from(text, 'base64')
    const isRight = bytes !== null && isContentOf(pending.hash, bytes)
    if (isRight) this.#settle(id, bytes)
    else this.#onNothing(id, serverId)
  }

  #onNothing(id: string, serverId: string): void {
    const pending = this.#pending.get(id)
    if (pending?.waiting.delete(serverId) && pending.waiting.size === 0) this.#settle(id, null)
  }

  #settle(id: string, bytes: Uint8Array | null): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    this.#pending.delete(id)
    this.#unasked.delete(id)
    pending.timer.cancel()
    pending.resolve(bytes)
  }
}

function takeFirst(ids: Set<string>): string | null {
  const [id] = ids
  if (id === undefined) return null
  ids.delete(id)
  return id
}
