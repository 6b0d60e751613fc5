import { isPlainObject } from '../../core/schema/plain-object.ts'
import type { QuerySubset, ScopeMap } from '../../core/scope.ts'
import { authorizePeer } from '../authorization.ts'
import type { RelayPeer } from '../relays/audiences.ts'
import type { SessionIdentity } from '../session.ts'

/** What other servers must know of a session to decide who may hear of it. */
export interface PeerDescription {
  readonly nodeId: string
  readonly userId: string
  /** What it may write and see; null: everything. */
  readonly granted: ScopeMap | null
  /** What it sees: what was granted, narrowed by its own wishes. */
  readonly scope: ScopeMap | null
  readonly subsets: readonly QuerySubset[]
}

export function describePeer({ nodeId, auth, access }: SessionIdentity): PeerDescription {
  return {
    nodeId,
    userId: auth.userId,
    granted: auth.scopes ?? null,
    scope: access.view.scope,
    subsets: access.view.subsets,
  }
}

/** @returns null for anything that `describePeer` did not make */
export function parsePeerDescription(value: unknown): PeerDescription | null {
  if (!isPlainObject(value)) return null
  const { nodeId, userId, granted, scope, subsets } = value
  if (typeof nodeId !== 'string' || typeof userId !== 'string' || !Array.isArray(subsets)) return null
  if (!isScope(granted) || !isScope(scope)) return null
  if (!subsets.every((subset) => isPlainObject(subset) && isPlainObject(subset.where))) return null
  return { nodeId, userId, granted, scope, subsets: subsets as QuerySubset[] } // checked in the lines above
}

/**
 * A session of another server, as the relays of this one see it: somebody whose presence, text and
 * requests concern the sessions here, and who is reached by other ways.
 */
export class RemotePeer implements RelayPeer {
  readonly id: string
  readonly state = 'streaming'
  readonly format = 'json'
  readonly isAccepted = true
  readonly identity: SessionIdentity

  constructor(id: string, { nodeId, userId, granted, scope, subsets }: PeerDescription) {
    this.id = id
    const auth = granted === null ? { userId } : { userId, scopes: granted }
    const access = authorizePeer({ nodeId, auth, scope, subsets })
    this.identity = { nodeId, auth, access, isModern: true, owed: { above: 0, through: 0 } }
  }

  /** Nothing is sent to it from here. */
  canSend(): boolean {
    return false
  }

  nextMessageId(): string {
    return ''
  }

  send(): void {}

  sendShared(): boolean {
    return true
  }
}

function isScope(value: unknown): value is ScopeMap | null {
  return value === null || (isPlainObject(value) && Object.values(value).every(isPlainObject))
}
