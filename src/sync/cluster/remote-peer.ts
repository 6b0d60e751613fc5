import { isPlainObject } from '../../core/schema/plain-object.ts'
import type { ScopeMap } from '../../core/scope.ts'
import { authorizePeer } from '../authorization.ts'
import type { RelayPeer } from '../relays/audiences.ts'
import type { SessionIdentity } from '../session-identity.ts'

/**
 * What other servers must know of a session to decide what it may be told. Nothing that the client has chosen is
 * part of this: its wishes may take a megabyte, and this goes out with every keystroke.
 */
export interface PeerDescription {
  readonly nodeId: string
  readonly userId: string
  /** What it may write and see; null: everything. */
  readonly granted: ScopeMap | null
}

/** The description as servers send it to each other. */
interface WirePeerDescription extends PeerDescription {
  /** Servers of earlier builds derive what the session sees from these two, which once carried its wishes. */
  readonly scope: ScopeMap | null
  readonly subsets: readonly []
}

/** The description of a session for other servers, which `parsePeerDescription` reads there. */
export function describePeer({ nodeId, auth, access: { granted } }: SessionIdentity): WirePeerDescription {
  return { nodeId, userId: auth.userId, granted, scope: granted, subsets: [] }
}

/** @returns null for anything that `describePeer` did not make */
export function parsePeerDescription(value: unknown): PeerDescription | null {
  if (!isPlainObject(value)) return null
  const { nodeId, userId, granted } = value
  if (typeof nodeId !== 'string' || typeof userId !== 'string' || !isScope(granted)) return null
  return { nodeId, userId, granted }
}

/**
 * A session of another server, as the relays here see it: its presence, text and requests concern the sessions
 * here, but nothing is sent to it directly.
 */
export class RemotePeer implements RelayPeer {
  readonly id: string
  readonly state = 'streaming'
  readonly readsJson = true
  /** False once nothing that is done on its behalf is awaited any more. */
  isAccepted = true
  readonly bufferedBytes = 0
  readonly identity: SessionIdentity

  constructor(id: string, { nodeId, userId, granted }: PeerDescription) {
    this.id = id
    const auth = granted === null ? { userId } : { userId, scopes: granted }
    const access = authorizePeer({ nodeId, auth })
    this.identity = { nodeId, auth, access, hasWatermark: true, owed: { above: 0, through: 0 } }
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
