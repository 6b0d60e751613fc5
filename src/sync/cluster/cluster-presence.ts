import type { Runtime, Timer } from '../../core/runtime.ts'
import type { AwarenessState } from '../../protocol/messages.ts'
import type { ClusterBus } from '../../store/cluster-bus.ts'
import type { RelayPeer } from '../relays/audiences.ts'
import type { PresenceRelay } from '../relays/presence-relay.ts'
import { type PresentAuthor, parsePresenceNews } from './cluster-messages.ts'
import { describePeer, RemotePeer } from './remote-peer.ts'

const TOPIC = 'presence'
/** How often the other servers are told. Of several changes in between, only the newest state is sent. */
const FLUSH_INTERVAL_MS = 100
/** Bytes of one announcement, give or take one author: a longer one would hold up what other servers announce. */
const MESSAGE_BYTES = 256 * 1024
/**
 * Departures that are announced one by one; where there are more, the ids of all present authors are announced
 * instead.
 */
const MAX_DEPARTURES = 1000

/**
 * Presence of the sessions of all servers. Each server announces its own authors: changes as they come, and
 * everything whenever another server begins to listen. When a server leaves, or its lease ends, its authors leave
 * with it.
 */
export class ClusterPresence {
  readonly #bus: ClusterBus
  readonly #presence: PresenceRelay
  readonly #runtime: Runtime
  readonly #own = new Map<RelayPeer, AwarenessState>()
  readonly #changed = new Set<RelayPeer>()
  /** Own authors to announce as soon as there is room, each with the state that it has by then. */
  readonly #due = new Set<RelayPeer>()
  /** True when the ids of all present authors are to be announced first. */
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

  /** Tells the other servers to forget our authors: as long as the store is open, they take this server for present. */
  stop(): void {
    if (this.#isStopped) return // a second call could hit a server that has taken our place, and remove its authors
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

  /** Announces the ids of all present authors, then each of their states. Those that are not named have left. */
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
    this.#due.clear() // a server that joins is told everything
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

  /** The announcement of one author: its state, or null where it has left. */
  #newsOf(peer: RelayPeer): string | null {
    const { id, identity } = peer
    if (identity === null) return null
    const state = this.#own.get(peer) ?? null
    return JSON.stringify({ id, peer: state === null ? null : describePeer(identity), state })
  }

  /**
   * Ignores a server that is not a member: once it is one again it announces everything, and until then nothing
   * would report its departure.
   */
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
