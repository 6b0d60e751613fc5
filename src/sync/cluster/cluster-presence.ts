import type { Runtime, Timer } from '../../core/runtime.ts'
import type { AwarenessState } from '../../protocol/messages.ts'
import type { ClusterBus } from '../../store/cluster-bus.ts'
import type { RelayPeer } from '../relays/audiences.ts'
import type { PresenceRelay } from '../relays/presence-relay.ts'
import { type PresentAuthor, parsePresenceNews } from './cluster-messages.ts'
import { describePeer, RemotePeer } from './remote-peer.ts'

const TOPIC = 'presence'
/** How often the others are told; what changes more often shows its newest state. */
const FLUSH_INTERVAL_MS = 100
/** Bytes of one announcement, and one author more: what others say meanwhile does not wait for long. */
const MESSAGE_BYTES = 256 * 1024
/** Authors that have left of which the others are told one by one; where it are more, they are told who is there. */
const MAX_DEPARTURES = 1000

/**
 * Presence of the sessions of all servers. Each tells the others of its own authors: of changes as
 * they come, and of all of them whenever another server begins to listen. What a server has told
 * goes with it: when it leaves, or its lease ends.
 */
export class ClusterPresence {
  readonly #bus: ClusterBus
  readonly #presence: PresenceRelay
  readonly #runtime: Runtime
  readonly #own = new Map<RelayPeer, AwarenessState>()
  readonly #changed = new Set<RelayPeer>()
  /** Own authors that the others are to be told of as soon as there is room, by what they show then. */
  readonly #due = new Set<RelayPeer>()
  /** True when the others are to be told, before that, who is there at all. */
  #areIdsDue = false
  readonly #remote = new Map<string, Map<string, RemotePeer>>()
  readonly #endSubscription: () => void
  #timer: Timer | null = null
  #mustTellAll = false
  #isStopped = false

  constructor(bus: ClusterBus, presence: PresenceRelay, runtime: Runtime) {
    this.#bus = bus
    this.#presence = presence
    this.#runtime = runtime
    this.#endSubscription = bus.subscribe(TOPIC, (payload, serverId) => this.#onNews(payload, serverId))
  }

  /** A session's state was set; null: it shows nothing any more. */
  onChanged(peer: RelayPeer, state: AwarenessState | null): void {
    if (peer instanceof RemotePeer) return
    if (state === null) this.#own.delete(peer)
    else this.#own.set(peer, state)
    this.#changed.add(peer)
    this.#scheduleFlush()
  }

  onJoined(): void {
    this.#mustTellAll = true
    this.#scheduleFlush()
  }

  onLeft(serverId: string): void {
    for (const peer of this.#remote.get(serverId)?.values() ?? []) this.#presence.onClosed(peer, null)
    this.#remote.delete(serverId)
  }

  /** The others forget our authors: as long as the store is open, this server is still there to them. */
  stop(): void {
    if (this.#isStopped) return // another server may be in its place, whose authors would be forgotten
    this.#isStopped = true
    this.#endSubscription()
    this.#timer?.cancel()
    this.#timer = null
    this.#changed.clear()
    this.#own.clear()
    this.#tellAll()
  }

  #scheduleFlush(): void {
    this.#timer ??= this.#runtime.setTimer(FLUSH_INTERVAL_MS, () => this.#flush())
  }

  #flush(): void {
    this.#timer = null
    for (const peer of this.#changed) this.#due.add(peer)
    this.#changed.clear()
    if (this.#mustTellAll || this.#due.size > this.#own.size + MAX_DEPARTURES) this.#tellAll()
    else this.#tellDue()
    this.#mustTellAll = false
  }

  /** Whoever is not named has left. */
  #tellAll(): void {
    this.#due.clear()
    for (const peer of this.#own.keys()) this.#due.add(peer)
    this.#areIdsDue = true
    this.#tellDue()
  }

  #tellDue(): void {
    if (this.#bus.members().size > 0) {
      this.#bus.publishFrom(TOPIC, this.#takeNews)
      return
    }
    this.#due.clear() // who comes is told all
    this.#areIdsDue = false
  }

  readonly #takeNews = (): string | null => {
    if (this.#areIdsDue) {
      this.#areIdsDue = false
      return JSON.stringify({ ids: [...this.#own.keys()].map(({ id }) => id), authors: [] })
    }
    const texts: string[] = []
    let bytes = 0
    for (const peer of this.#due) {
      if (bytes >= MESSAGE_BYTES) break
      this.#due.delete(peer)
      const text = this.#newsOf(peer)
      if (text === null) continue
      texts.push(text)
      bytes += Buffer.byteLength(text)
    }
    return texts.length === 0 ? null : `{"authors":[${texts.join(',')}]}`
  }

  /** Without state, it has left. */
  #newsOf(peer: RelayPeer): string | null {
    const { id, identity } = peer
    if (identity === null) return null
    const state = this.#own.get(peer) ?? null
    return JSON.stringify({ id, peer: state === null ? null : describePeer(identity), state })
  }

  /** A server that is gone to us says all of it when it is there again; until then, nothing would tell that it leaves. */
  #onNews(payload: string, serverId: string): void {
    if (!this.#bus.members().has(serverId)) return
    const { ids, authors } = parsePresenceNews(payload)
    const known = this.#remote.get(serverId) ?? new Map<string, RemotePeer>()
    this.#remote.set(serverId, known)
    if (ids !== undefined) {
      const present = new Set(ids)
      for (const id of known.keys()) if (!present.has(id)) this.#hide(known, id)
    }
    for (const author of authors) {
      if (author.state === null) this.#hide(known, author.id)
      else this.#show(known, author)
    }
  }

  #show(known: Map<string, RemotePeer>, { id, peer, state }: PresentAuthor): void {
    const author = known.get(id) ?? new RemotePeer(id, peer)
    known.set(id, author)
    this.#presence.receive(author, {
      type: 'awareness-update',
      messageId: '',
      clientId: 0,
      states: { 0: state },
    })
  }

  #hide(known: Map<string, RemotePeer>, id: string): void {
    const peer = known.get(id)
    known.delete(id)
    if (peer !== undefined) this.#presence.onClosed(peer, null)
  }
}
