import type { FieldValues } from './operation.ts'
import { matchesScope, type ScopeMap } from './scope.ts'

/** Only this module makes them. */
let makeWriteAccess: (scope: ScopeMap | null, advancesVector: boolean) => WriteAccess

/**
 * What the author of an operation may write: the verdict without which no store takes one. An object
 * of the same shape is none.
 *
 * @see docs/access.md
 */
export class WriteAccess {
  /**
   * False when the author may not speak for the operation's node: the operation is stored, but the
   * version vector, which tells that node what it need not send again, does not move.
   */
  readonly advancesVector: boolean
  readonly #scope: ScopeMap | null

  static {
    makeWriteAccess = (scope, advancesVector) => new WriteAccess(scope, advancesVector)
  }

  private constructor(scope: ScopeMap | null, advancesVector: boolean) {
    this.#scope = scope
    this.advancesVector = advancesVector
  }

  /** null: every record */
  get scope(): ScopeMap | null {
    return this.#scope
  }

  /** True when a record with these values may be written. */
  allows(collection: string, values: FieldValues): boolean {
    return matchesScope(values, collection, this.#scope)
  }
}

/** Asked for by src/sync/authorization.ts, and by stores for what no client has sent. */
export function createWriteAccess(scope: ScopeMap | null, advancesVector: boolean): WriteAccess {
  return makeWriteAccess(scope, advancesVector)
}

/** An operation from a source that the application trusts, as if its node had sent it. */
export const TRUSTED_SOURCE = createWriteAccess(null, true)

/** Operations that a server has accepted before, and those that it authors: their numbers are kept elsewhere. */
export const SERVER_ITSELF = createWriteAccess(null, false)
