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
/** Of one announcement, and one author more. One that is too long for the bus would be lost with all in it. */
const MESSAGE_BYTES = 256 * 1024

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
    this.#publish([], true)
  }

  #scheduleFlush(): void {
    this.#timer ??= this.#runtime.setTimer(FLUSH_INTERVAL_MS, () => this.#flush())
  }

  #flush(): void {
    this.#timer = null
    if (this.#mustTellAll) {
      this.#publish([...this.#own.keys()], true)
      this.#mustTellAll = false
    } else if (this.#changed.size > 0) this.#publish([...this.#changed], false)
    this.#changed.clear()
  }

  /** @param isAll there are no others: whoever is not named has left */
  #publish(peers: readonly RelayPeer[], isAll: boolean): void {
    const authors = peers.flatMap((peer) => {
      const state = this.#own.get(peer) ?? null
      if (peer.identity === null) return []
      return [{ id: peer.id, peer: state === null ? null : describePeer(peer.identity), state }]
    })
    const ids = isAll ? authors.map(({ id }) => id) : undefined
    if (ids !== undefined) this.#bus.publish(TOPIC, JSON.stringify({ ids, authors: [] }))
    for (const texts of groupByBytes(authors.map((author) => JSON.stringify(author)))) {
      this.#bus.publish(TOPIC, `{"authors":[${texts.join(',')}]}`)
    }
  }

  /** A server that is gone to us says all of it when it is there again; until then, nothing would tell that it leaves. */
  #onNews(payload: string, serverId: string): void {
    if (!this.#bus.members().has(serverId)) return
    const { ids, authors } = parsePresenceNews(payload)
    const known = this.#remote.get(serverId) ?? new Map<string, RemotePeer>()
    this.#remote.set(serverId, known)
    if (ids !== undefined) {
      const present = new Set(ids)
      for (const id of known.keys()) if (!present.has(id)) this.#forget(known, id)
    }
    for (const author of authors) {
      if (author.state === null) this.#forget(known, author.id)
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

  #forget(known: Map<string, RemotePeer>, id: string): void {
    const peer = known.get(id)
    known.delete(id)
    if (peer !== undefined) this.#presence.onClosed(peer, null)
  }
}

function groupByBytes(texts: readonly string[]): string[][] {
  const groups: string[][] = []
  let bytes = MESSAGE_BYTES
  for (const text of texts) {
    if (bytes >= MESSAGE_BYTES) {
      groups.push([])
      bytes = 0
    }
    groups.at(-1)?.push(text)
    bytes += Buffer.byteLength(text)
  }
  return groups
}
