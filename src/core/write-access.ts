import type { FieldValues } from './operation.ts'
import { matchesScope, type ScopeMap } from './scope.ts'
import { guestEntry } from './version-vector.ts'

/**
 * Who sends the operations of a node: the one whom the node belongs to, from the device itself or, as a
 * carrier, from another one that was given them; somebody else who uses the device; or somebody who does
 * not speak for it.
 */
export type Speaker = 'owner' | 'carrier' | { readonly guest: string } | 'nobody'

/** Only this module makes them. */
let makeWriteAccess: (scope: ScopeMap | null, speaker: Speaker) => WriteAccess

/**
 * What the author of an operation may write: the verdict without which no store takes one. An object
 * of the same shape is none.
 *
 * @see docs/access.md
 */
export class WriteAccess {
  readonly #scope: ScopeMap | null
  /** What is put behind a node id to name the entry; null: no entry moves. */
  readonly #entrySuffix: string | null
  /**
   * True where an operation moves the entry by one and only when it is the next, whole: who brings it may
   * have been given a part of the node's, or less of each than was written.
   */
  readonly movesInTurn: boolean

  static {
    makeWriteAccess = (scope, speaker) => new WriteAccess(scope, speaker)
  }

  private constructor(scope: ScopeMap | null, speaker: Speaker) {
    this.#scope = scope
    this.#entrySuffix = suffixOf(speaker)
    this.movesInTurn = speaker === 'carrier'
  }

  /** null: every record */
  get scope(): ScopeMap | null {
    return this.#scope
  }

  /** True when a record with these values may be written. */
  allows(collection: string, values: FieldValues): boolean {
    return matchesScope(values, collection, this.#scope)
  }

  /**
   * The entry of the version vector that an operation of the node moves once it is stored; null for
   * none. An entry tells a device what it need not send again, so nobody moves a stranger's.
   */
  vectorEntryOf(nodeId: string): string | null {
    return this.#entrySuffix === null ? null : nodeId + this.#entrySuffix
  }
}

function suffixOf(speaker: Speaker): string | null {
  if (speaker === 'nobody') return null
  return speaker === 'owner' || speaker === 'carrier' ? '' : guestEntry('', speaker.guest)
}

/** Asked for by src/sync/authorization.ts, and by stores for what no client has sent. */
export function createWriteAccess(scope: ScopeMap | null, speaker: Speaker): WriteAccess {
  return makeWriteAccess(scope, speaker)
}

/** An operation from a source that the application trusts, as if its node had sent it. */
export const TRUSTED_SOURCE = createWriteAccess(null, 'owner')

/** Operations that a server has accepted before, and those that it authors: their numbers are kept elsewhere. */
export const SERVER_ITSELF = createWriteAccess(null, 'nobody')
