import type { Runtime } from '../../core/runtime.ts'
import type { AwarenessState, YjsDocUpdateMessage } from '../../protocol/messages.ts'
import type { ClusterBus } from '../../store/cluster-bus.ts'
import type { RelayPeer } from '../relays/audiences.ts'
import type { BlobRelay } from '../relays/blob-relay.ts'
import type { PresenceRelay } from '../relays/presence-relay.ts'
import type { RichtextRelay } from '../relays/richtext-relay.ts'
import { ClusterBlobs } from './cluster-blobs.ts'
import { parseTypedNews } from './cluster-messages.ts'
import { ClusterPresence } from './cluster-presence.ts'
import { describePeer, RemotePeer } from './remote-peer.ts'

const RICHTEXT = 'richtext'

export interface ClusteredRelays {
  readonly presence: PresenceRelay
  readonly richtext: RichtextRelay
  readonly blobs: BlobRelay
}

/**
 * Relays to the sessions of the other servers what is never stored. To the relays here, a session of another server
 * is one like any other, and the same rules decide what it gets: each server decides for its own sessions, so no
 * ready-made frame is sent between servers.
 */
export class ClusterRelays {
  readonly #bus: ClusterBus
  readonly #relays: ClusteredRelays
  readonly #presence: ClusterPresence
  readonly #blobs: ClusterBlobs
  readonly #endings: readonly (() => void)[]
  /** Authors on other servers that are typing. They are kept because their rate is limited like that of our own. */
  readonly #typists = new Map<string, RemotePeer>()

  constructor(bus: ClusterBus, relays: ClusteredRelays, runtime: Runtime) {
    this.#bus = bus
    this.#relays = relays
    this.#presence = new ClusterPresence(bus, relays.presence, runtime)
    this.#blobs = new ClusterBlobs(bus, relays.blobs, runtime)
    this.#endings = [
      bus.subscribe(RICHTEXT, (payload, serverId) => this.#onRichtext(payload, serverId)),
      bus.onMembership(({ serverId, kind }) => {
        if (kind === 'joined') this.#presence.onJoined()
        else this.#onLeft(serverId)
      }),
    ]
  }

  onPresence(peer: RelayPeer, state: AwarenessState | null): void {
    this.#presence.onChanged(peer, state)
  }

  /** An update that the author may make was passed on to the sessions here. */
  onRichtext(author: RelayPeer, message: YjsDocUpdateMessage): void {
    if (author instanceof RemotePeer || author.identity === null || this.#bus.members().size === 0) return
    const peer = describePeer(author.identity)
    this.#bus.publish(RICHTEXT, JSON.stringify({ id: author.id, peer, message }))
  }

  askForBlob(requester: RelayPeer, hash: string, signal: AbortSignal): Promise<Uint8Array | null> {
    return requester instanceof RemotePeer ? Promise.resolve(null) : this.#blobs.ask(requester, hash, signal)
  }

  /** Ends the subscriptions: the store and its bus may live on, with another server in the place of this one. */
  stop(): void {
    for (const end of this.#endings) end()
    this.#presence.stop()
    this.#blobs.stop()
  }

  #onRichtext(payload: string, serverId: string): Promise<void> | undefined {
    const { id, peer, message } = parseTypedNews(payload)
    const key = `${serverId}/${id}`
    let typist = this.#typists.get(key)
    if (typist === undefined) {
      if (this.#typists.size >= MAX_TYPISTS) this.#typists.clear()
      typist = new RemotePeer(key, peer)
      this.#typists.set(key, typist)
    }
    return this.#relays.richtext.receive(typist, message)
  }

  #onLeft(serverId: string): void {
    this.#presence.onLeft(serverId)
    this.#blobs.onLeft(serverId)
    for (const key of [...this.#typists.keys()]) {
      if (key.startsWith(`${serverId}/`)) this.#typists.delete(key)
    }
  }
}

const MAX_TYPISTS = 10_000
