import { canonicalJson } from '../../core/canonical-json.ts'
import { addTo, removeFrom } from '../../core/map-of-sets.ts'
import type { FieldValues } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { type ScopeKey, scopeKeyOf, showsRecord, type View } from '../../core/view.ts'
import type { ClientAccess } from '../authorization.ts'
import type { Session } from '../session.ts'
import { ViewIndex } from '../view-index.ts'

/** A session as the relays use it. */
export type RelayPeer = Pick<
  Session,
  | 'id'
  | 'state'
  | 'readsJson'
  | 'identity'
  | 'isAccepted'
  | 'bufferedBytes'
  | 'canSend'
  | 'nextMessageId'
  | 'send'
  | 'sendShared'
>

/** The streaming sessions of one tenant that have the same view. */
export interface Audience {
  readonly key: string
  readonly view: View
  /** What it has in common with the others of its tenant. @see tenantTags */
  readonly tags: readonly string[]
  readonly members: Set<RelayPeer>
}

/**
 * The sessions that relays may reach, by what they see: those that have their initial data, and
 * whose client knows the relayed messages.
 */
export class Audiences {
  readonly #byKey = new Map<string, Audience>()
  readonly #byPeer = new Map<RelayPeer, Audience>()
  readonly #peersByOwnEntry = new Map<string, Set<RelayPeer>>()
  readonly #byTag = new Map<string, Set<Audience>>()
  readonly #index = new ViewIndex<Audience>()
  #selectiveCount = 0

  /** True when somebody may see some records of a collection and not others. */
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

  /** The sessions of whom an entry of the vector belongs to. */
  ownersOf(entry: string): RelayPeer[] {
    return [...(this.#peersByOwnEntry.get(entry) ?? [])]
  }

  /** Those who see a record with these values. */
  seeing(collection: string, values: FieldValues): readonly Audience[] {
    const found: Audience[] = []
    const keyOf = (field: string): ScopeKey => scopeKeyOf(ownValue(values, field))
    this.#index.visitCandidates(collection, keyOf, (audience) => {
      if (showsRecord(collection, values, audience.view)) found.push(audience)
    })
    return found
  }

  /** Those who belong to the same tenant as somebody with these tags. */
  sharing(tags: Iterable<string>): Set<Audience> {
    const found = new Set<Audience>()
    for (const tag of tags) for (const audience of this.#byTag.get(tag) ?? []) found.add(audience)
    return found
  }

  /** By both, because a wish can give two tenants the same view. */
  #audienceOf(access: ClientAccess): Audience {
    const { view } = access
    const tags = tenantTags(access)
    const key = `${view.key} ${tags.join(' ')}`
    return this.#byKey.get(key) ?? this.#open({ key, view, tags, members: new Set() })
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

/**
 * Two clients belong to one tenant when they have a tag in common: both are granted everything, or
 * both the same part of some collection, or neither is confined to a part of anything and both are
 * granted some collection. What they wish for makes no difference: by a wish that names a part, a
 * client could choose its tenant.
 */
export function tenantTags({ granted }: ClientAccess): readonly string[] {
  if (granted === null) return ['*']
  const filters = Object.entries(granted)
  const confined = filters.filter(([, filter]) => Object.keys(filter).length > 0)
  return (confined.length > 0 ? confined : filters).map((entry) => canonicalJson(entry))
}
