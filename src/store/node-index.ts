import type { VersionVector } from '../core/version-vector.ts'

/** A node that has spoken to this server. */
export interface NodeRegistration {
  readonly nodeId: string
  /** The user the node is bound to; null while nobody authenticated has used it. */
  readonly userId: string | null
  /** Opaque text of sync/handshake/scope-era.ts, or `OF_FORMER_LOG`; null where nobody has restricted the node yet. */
  readonly scopeEra: string | null
  /**
   * Delivery sequence up to which the version vector of a client without watermark tells what it has;
   * `EMPTY_LOG` where that is nothing yet; 0 where it is not known.
   */
  readonly legacyPosition: number
}

/** What is to hold of a node from now on; whatever is left out stays as it was. */
export interface NodeUpdate extends Partial<NodeRegistration> {
  readonly nodeId: string
}

/** What must hold of a node, or nothing of it is changed. */
export type NodeCondition = Pick<NodeRegistration, 'scopeEra'>

export interface HandshakeVectorQuery {
  /** Nodes of which the highest entry is told, be it the owner's or a guest's. */
  readonly nodeIds: readonly string[]
  /** An entry that is told as it stands: of a node's owner, or of a guest. @see guestEntry */
  readonly entry: string | null
  /** Nodes of this user, and those that belong to nobody, are told too, though nobody asks. */
  readonly userId: string | null
  /** The most of these. */
  readonly maxOthers: number
}

/**
 * `scopeEra` of a node that had one when another log took the place of the one it had read: equal to none, so that what
 * it has counts as reached under another grant.
 */
export const OF_FORMER_LOG = 'restored'

/** `legacyPosition` of a node that came when there was no operation yet: 0 is for those of whom nothing is known. */
export const EMPTY_LOG = -1

/** The nodes that have spoken to the server, and the version vector. */
export interface NodeIndex {
  /**
   * Node → the highest sequence number of it that the store has; of what others have brought, up to the first that is
   * missing. Entries of guests are left out. @see guestEntry
   */
  getVersionVector(): Promise<VersionVector>
  /** What a handshake tells of the vector. Never the whole vector of millions. */
  getHandshakeVector(query: HandshakeVectorQuery): Promise<VersionVector>
  readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>>
  /**
   * Inserts or updates; a `userId` that is already set is kept. Returns what holds afterwards.
   *
   * @param onlyWhile changes nothing where the node has been granted another view since: what is told of a
   *   session that another one has followed
   */
  registerNode(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration>
}
