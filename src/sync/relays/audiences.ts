import { addTo, removeFrom } from '../../core/map-of-sets.ts'
import type { FieldValues } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { type ScopeKey, scopeKeyOf, showsRecord, type View } from '../../core/view.ts'
import type { Frame } from '../../protocol/frame.ts'
import type { SyncMessage } from '../../protocol/messages.ts'
import type { ClientAccess } from '../authorization.ts'
import { ViewIndex } from '../feed/view-index.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { SessionState } from '../session-state.ts'
import { Tenants, tagOf } from './tenants.ts'

/** A session as the relays use it. */
export interface RelayPeer {
  readonly id: string
  readonly state: SessionState
  /** null before the handshake is accepted. */
  readonly identity: SessionIdentity | null
  readonly isAccepted: boolean
  /** True where it can be sent messages that exist only as JSON. */
  readonly readsJson: boolean
  /** Bytes that it has been sent but has not yet taken. */
  readonly bufferedBytes: number
  /** True while the client reads what it is sent. */
  canSend(): boolean
  nextMessageId(): string
  send(message: SyncMessage): void
  /** Sends a JSON frame made for several sessions; false when it was dropped. */
  sendShared(frame: Frame): boolean
}

/** The streaming sessions of one tenant that have the same view. */
export interface Audience {
  readonly key: string
  readonly view: View
  /** What makes its members belong to their tenant. @see Tenants */
  readonly tags: readonly string[]
  /** Collection → the tag that comes from it. */
  readonly tagsByCollection: ReadonlyMap<string, string>
  readonly members: Set<RelayPeer>
}

/**
 * The sessions that relays may reach, grouped by what they see: those that have their initial data and whose client
 * knows the relayed messages.
 */
export class Audiences {
  readonly tenants: Tenants
  readonly #byKey = new Map<string, Audience>()
  readonly #byPeer = new Map<RelayPeer, Audience>()
  readonly #peersByOwnEntry = new Map<string, Set<RelayPeer>>()
  readonly #byTag = new Map<string, Set<Audience>>()
  readonly #index = new ViewIndex<Audience>()
  #selectiveCount = 0

  constructor(tenants = new Tenants()) {
    this.tenants = tenants
  }

  /** True when some client may see some records of a collection and not others. */
  get areSelective(): boolean {
    return this.#selectiveCount > 0
  }

  /** @returns the audience, or null for a client that may not know the messages */
  join(peer: RelayPeer): Audience | null {
    const { identity } = peer
    if (identity === null || !identity.hasWatermark) return null
    const audience = this.#audienceOf(identity.access)
    audience.members.add(peer)
    this.#byPeer.set(peer, audience)
    const { ownEntry } = identity.access
    if (ownEntry !== null) addTo(this.#peersByOwnEntry, ownEntry, peer)
    return audience
  }

  leave(peer: RelayPeer): Audience | null {
    const audience = this.#byPeer.get(peer)
    if (audience === undefined) return null
    this.#byPeer.delete(peer)
    const ownEntry = peer.identity?.access.ownEntry ?? null
    if (ownEntry !== null) removeFrom(this.#peersByOwnEntry, ownEntry, peer)
    audience.members.delete(peer)
    if (audience.members.size === 0) this.#close(audience)
    return audience
  }

  of(peer: RelayPeer): Audience | null {
    return this.#byPeer.get(peer) ?? null
  }

  /** The sessions to whose client this vector entry belongs. */
  ownersOf(entry: string): RelayPeer[] {
    return [...(this.#peersByOwnEntry.get(entry) ?? [])]
  }

  /** The audiences that see a record with these values. */
  seeing(collection: string, values: FieldValues): readonly Audience[] {
    const found: Audience[] = []
    const keyOf = (field: string): ScopeKey => scopeKeyOf(ownValue(values, field))
    this.#index.visitCandidates(collection, keyOf, (audience) => {
      if (showsRecord(collection, values, audience.view)) found.push(audience)
    })
    return found
  }

  /** The audiences that have one of these tags, and so belong to the same tenant. */
  sharing(tags: Iterable<string>): Set<Audience> {
    const found = new Set<Audience>()
    for (const tag of tags) for (const audience of this.#byTag.get(tag) ?? []) found.add(audience)
    return found
  }

  /** The audiences of the client's tenant that are not granted other parts in place of the client's. */
  colleaguesOf(access: ClientAccess): Set<Audience> {
    const wanted = this.tenants.sharedPartsOf(access).map((part) => [part[0], tagOf(part)] as const)
    const found = this.sharing(this.tenants.tagsOf(access))
    for (const audience of found) {
      const isOpposed = ([collection, tag]: (typeof wanted)[number]): boolean =>
        (audience.tagsByCollection.get(collection) ?? tag) !== tag
      if (wanted.some(isOpposed)) found.delete(audience)
    }
    return found
  }

  /** Keyed by view and tenant, because a wish can give clients of two tenants the same view. */
  #audienceOf(access: ClientAccess): Audience {
    const { view } = access
    const tags = this.tenants.tagsOf(access)
    const key = `${view.key} ${tags.join(' ')}`
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const parts = access.granted === null ? [] : this.tenants.decisivePartsOf(access)
    const tagsByCollection = new Map(parts.map((part) => [part[0], tagOf(part)]))
    return this.#open({ key, view, tags, tagsByCollection, members: new Set() })
  }

  #open(audience: Audience): Audience {
    this.#byKey.set(audience.key, audience)
    this.#index.add(audience)
    if (audience.view.isSelective) this.#selectiveCount++
    for (const tag of audience.tags) addTo(this.#byTag, tag, audience)
    return audience
  }

  #close(audience: Audience): void {
    this.#byKey.delete(audience.key)
    this.#index.delete(audience)
    if (audience.view.isSelective) this.#selectiveCount--
    for (const tag of audience.tags) removeFrom(this.#byTag, tag, audience)
  }
}
