import { type GrantKinds, UNKNOWN_GRANT_KINDS } from '../../auth/scope-templates.ts'
import { canonicalJson } from '../../core/canonical-json.ts'
import type { JsonValue } from '../../core/operation.ts'
import type { ScopeFilter } from '../../core/scope.ts'
import type { ClientAccess } from '../authorization.ts'

/** The part of a collection that somebody is granted. */
export type GrantedPart = readonly [collection: string, filter: ScopeFilter]

/**
 * Somebody of whom nothing but the grant is looked at. Wishes make no difference: by one, a client could
 * choose its tenant.
 */
type Grantee = Pick<ClientAccess, 'granted' | 'userId'>

/**
 * Who belongs together, as far as what they are granted tells. Nothing else does: the server knows no tenants.
 *
 * A part of a collection that all users are granted alike is *common*, and makes none of them a colleague of
 * another. It is known by its filter, which asks for yes or no and nothing else, or by the template that names no
 * claim for it. A *personal* part is that of one user: the template names the claim of the user's id. Where no
 * template tells, it is known by a value that is the id.
 */
export class Tenants {
  readonly #kinds: GrantKinds

  constructor(kinds: GrantKinds = UNKNOWN_GRANT_KINDS) {
    this.#kinds = kinds
  }

  /**
   * Two clients belong to one tenant when they have a tag in common: both are granted everything, or both the
   * same part of some collection, one that is not common, or neither is granted such a part, and both the same.
   */
  tagsOf(client: Grantee): readonly string[] {
    return client.granted === null ? ['*'] : this.decisivePartsOf(client).map(tagOf)
  }

  /** The parts by which a client that is not granted everything belongs to a tenant. */
  decisivePartsOf(client: Grantee): readonly GrantedPart[] {
    const parts = confinedPartsOf(client)
    const own = parts.filter((part) => !this.isCommon(part))
    return own.length > 0 ? own : parts
  }

  /**
   * The parts by which content may be given to a client that sees a record of the collection that refers to
   * it.
   */
  partsBehind(collection: string, client: Grantee): readonly GrantedPart[] {
    const behind = confinedPartsOf(client).filter(([name]) => name === collection)
    return behind.length > 0 ? behind : this.decisivePartsOf(client)
  }

  /** The parts that colleagues have too, or are granted nothing in place of. */
  sharedPartsOf(client: Grantee): readonly GrantedPart[] {
    return this.decisivePartsOf(client).filter((part) => !this.#isPersonal(part, client))
  }

  /**
   * The further parts that those who have a part in common with the client must not have other ones in place of.
   * Colleagues have parts of their own, so personal ones count only where what is common would be all they share.
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

  /** By its values alone, tenant 7 of user 7 would be that user's own. */
  #isPersonal([collection, filter]: GrantedPart, { userId }: Grantee): boolean {
    const { personal } = this.#kinds
    if (personal !== null) return personal.has(collection)
    return Object.values(filter).some((value) => value === userId)
  }
}

/** The parts that are not a collection as a whole; where no other is granted, these. */
export function confinedPartsOf({ granted }: Grantee): readonly GrantedPart[] {
  const parts = Object.entries(granted ?? {})
  const confined = parts.filter(isConfined)
  return confined.length > 0 ? confined : parts
}

/** True for a part that is not the collection as a whole. */
export function isConfined([, filter]: GrantedPart): boolean {
  return Object.keys(filter).length > 0
}

/** A text that only equal parts have in common. */
export function tagOf(part: GrantedPart): string {
  return canonicalJson(part)
}

function isYesOrNo(value: JsonValue): boolean {
  return typeof value === 'boolean' || value === null
}
