import { type GrantKinds, UNKNOWN_GRANT_KINDS } from '../../auth/scope-templates.ts'
import { canonicalJson } from '../../core/canonical-json.ts'
import type { JsonValue } from '../../core/operation.ts'
import type { ScopeFilter } from '../../core/scope.ts'
import type { ClientAccess } from '../authorization.ts'

/** A collection, and the part of it that a client is granted. */
export type GrantedPart = readonly [collection: string, filter: ScopeFilter]

/**
 * A client reduced to its grant. Wishes must make no difference here, because a client could then choose its
 * tenant.
 */
type Grantee = Pick<ClientAccess, 'granted' | 'userId'>

/**
 * Decides which clients are colleagues, from their grants alone: the server knows no tenants.
 *
 * A part of a collection that all users are granted alike is *common*, and does not make them colleagues. It is
 * recognized by its filter, which compares only with booleans or null, or by a template that names no claim for it.
 * A *personal* part is that of one user: the template names the claim of the user's id. Without a template, it is
 * recognized by a value that equals the id.
 */
export class Tenants {
  readonly #kinds: GrantKinds

  constructor(kinds: GrantKinds = UNKNOWN_GRANT_KINDS) {
    this.#kinds = kinds
  }

  /**
   * The tags of a client. Two clients belong to one tenant when they share a tag: both are granted everything; or
   * both are granted the same part of some collection, and it is not common; or neither has such a part, and both
   * have the same common one.
   */
  tagsOf(client: Grantee): readonly string[] {
    return client.granted === null ? ['*'] : this.decisivePartsOf(client).map(tagOf)
  }

  /** The parts that decide the tenant of a client that is not granted everything. */
  decisivePartsOf(client: Grantee): readonly GrantedPart[] {
    const parts = confinedPartsOf(client)
    const own = parts.filter((part) => !this.isCommon(part))
    return own.length > 0 ? own : parts
  }

  /** The parts on account of which a client may be given content that a record of the collection refers to. */
  partsBehind(collection: string, client: Grantee): readonly GrantedPart[] {
    const behind = confinedPartsOf(client).filter(([name]) => name === collection)
    return behind.length > 0 ? behind : this.decisivePartsOf(client)
  }

  /** The parts that colleagues have as well, or have nothing in place of. */
  sharedPartsOf(client: Grantee): readonly GrantedPart[] {
    return this.decisivePartsOf(client).filter((part) => !this.#isPersonal(part, client))
  }

  /**
   * Further parts on which a colleague must not differ from the client. Colleagues have personal parts of their
   * own, so these count only where the parts have nothing but a common one in common.
   */
  partsToAgree(client: Grantee, { beside }: { readonly beside: GrantedPart }): readonly GrantedPart[] {
    const isCommon = this.isCommon(beside)
    return confinedPartsOf(client).filter(
      (part) => part[0] !== beside[0] && (isCommon || !this.#isPersonal(part, client)),
    )
  }

  isCommon([collection, filter]: GrantedPart): boolean {
    return this.#kinds.common.has(collection) || Object.values(filter).every(isYesOrNo)
  }

  /** Prefers the templates: judged by values alone, tenant 7 of user 7 would be that user's own. */
  #isPersonal([collection, filter]: GrantedPart, { userId }: Grantee): boolean {
    const { personal } = this.#kinds
    if (personal !== null) return personal.has(collection)
    return Object.values(filter).some((value) => value === userId)
  }
}

/** The granted parts that are less than a whole collection; where there are none, all granted parts. */
export function confinedPartsOf({ granted }: Grantee): readonly GrantedPart[] {
  const parts = Object.entries(granted ?? {})
  const confined = parts.filter(isConfined)
  return confined.length > 0 ? confined : parts
}

/** True for a part that is not the collection as a whole. */
export function isConfined([, filter]: GrantedPart): boolean {
  return Object.keys(filter).length > 0
}

/** A text that is the same for equal parts only. */
export function tagOf(part: GrantedPart): string {
  return canonicalJson(part)
}

function isYesOrNo(value: JsonValue): boolean {
  return typeof value === 'boolean' || value === null
}
