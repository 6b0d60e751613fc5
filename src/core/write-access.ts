import type { FieldValues } from './operation.ts'
import { matchesScope, type ScopeMap } from './scope.ts'
import { guestEntry } from './version-vector.ts'

/**
 * The sender of a node's operations: its owner, from the device itself or, as a carrier, from another device that
 * was given them; a guest, who also uses the device; or nobody, where the sender does not own the node.
 */
export type Speaker = 'owner' | 'carrier' | { readonly guest: string } | 'nobody'

/** Kept in this module, so that only it makes access. */
let makeWriteAccess: (scope: ScopeMap | null, speaker: Speaker) => WriteAccess

/**
 * What the author of an operation may write: a verdict without which no store accepts one. An object of the same
 * shape does not pass for it.
 *
 * @see docs/access.md
 */
export class WriteAccess {
  readonly #scope: ScopeMap | null
  /** The suffix that turns a node id into its vector entry; null: no entry moves. */
  readonly #entrySuffix: string | null
  /**
   * True where an operation moves the entry only if it is the next one and complete. A carrier may have been given
   * only some of the node's operations, or less of each than was written.
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
   * The vector entry that moves when an operation of the node is stored; null for none. An entry tells a device
   * what it need not send again, so a sender must never move a stranger's.
   */
  vectorEntryOf(nodeId: string): string | null {
    return this.#entrySuffix === null ? null : nodeId + this.#entrySuffix
  }
}

function suffixOf(speaker: Speaker): string | null {
  if (speaker === 'nobody') return null
  return speaker === 'owner' || speaker === 'carrier' ? '' : guestEntry('', speaker.guest)
}

/** Called by src/sync/authorization.ts, and by stores for operations that no client has sent. */
export function createWriteAccess(scope: ScopeMap | null, speaker: Speaker): WriteAccess {
  return makeWriteAccess(scope, speaker)
}

/** An operation from a source that the application trusts, as if its node had sent it. */
export const TRUSTED_SOURCE = createWriteAccess(null, 'owner')

/** For operations that a server has accepted before or authors itself, whose numbers are kept elsewhere. */
export const SERVER_ITSELF = createWriteAccess(null, 'nobody')
