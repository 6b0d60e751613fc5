import { canonicalJson } from '../../core/canonical-json.ts'
import type { FieldValues } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import type { ScopeMap } from '../../core/scope.ts'
import { type ScopeKey, scopeKeyOf, showsRecord, type View } from '../../core/view.ts'
import type { Session } from '../session.ts'
import { ViewIndex } from '../view-index.ts'

/** A session as the relays use it. */
export type RelayPeer = Pick<
  Session,
  'id' | 'state' | 'format' | 'identity' | 'isAccepted' | 'canSend' | 'nextMessageId' | 'send' | 'sendShared'
>

/** The streaming sessions of one view. */
export interface Audience {
  readonly view: View
  /** What it has in common with the views of the same tenant. @see tenantTags */
  readonly tags: readonly string[]
  readonly members: Set<RelayPeer>
}

/**
 * The sessions that relays may reach, by what they see: those that have their initial data, and
 * whose client knows the relayed messages.
 */
export class Audiences {
  readonly #byViewKey = new Map<string, Audience>()
  readonly #byPeer = new Map<RelayPeer, Audience>()
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
    if (identity === null || !identity.isModern) return null
    const audience = this.#byViewKey.get(identity.access.view.key) ?? this.#open(identity.access.view)
    audience.members.add(peer)
    this.#byPeer.set(peer, audience)
    return audience
  }

  leave(peer: RelayPeer): Audience | null {
    const audience = this.#byPeer.get(peer)
    if (audience === undefined) return null
    this.#byPeer.delete(peer)
    audience.members.delete(peer)
    if (audience.members.size === 0) this.#close(audience)
    return audience
  }

  of(peer: RelayPeer): Audience | null {
    return this.#byPeer.get(peer) ?? null
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
  sharing(tags: readonly string[]): Set<Audience> {
    const found = new Set<Audience>()
    for (const tag of tags) for (const audience of this.#byTag.get(tag) ?? []) found.add(audience)
    return found
  }

  #open(view: View): Audience {
    const audience: Audience = { view, tags: tenantTags(view.scope), members: new Set() }
    this.#byViewKey.set(view.key, audience)
    this.#index.add(audience)
    if (view.isSelective) this.#selectiveCount++
    for (const tag of audience.tags) {
      const sharing = this.#byTag.get(tag)
      if (sharing === undefined) this.#byTag.set(tag, new Set([audience]))
      else sharing.add(audience)
    }
    return audience
  }

  #close(audience: Audience): void {
    this.#byViewKey.delete(audience.view.key)
    this.#index.delete(audience)
    if (audience.view.isSelective) this.#selectiveCount--
    for (const tag of audience.tags) {
      const sharing = this.#byTag.get(tag)
      sharing?.delete(audience)
      if (sharing?.size === 0) this.#byTag.delete(tag)
    }
  }
}

/**
 * Two views belong to one tenant when they have a tag in common: both see everything, or both see
 * the same part of some collection, or neither is confined to a part of anything and both see some
 * collection.
 */
export function tenantTags(scope: ScopeMap | null): readonly string[] {
  if (scope === null) return ['*']
  const filters = Object.entries(scope)
  const confined = filters.filter(([, filter]) => Object.keys(filter).length > 0)
  return (confined.length > 0 ? confined : filters).map((entry) => canonicalJson(entry))
}
