import type { VersionVector } from '../core/version-vector.ts'

/** A node that has connected to this server. */
export interface NodeRegistration {
  readonly nodeId: string
  /** The user that the node is bound to; null while no authenticated user has used it. */
  readonly userId: string | null
  /** Opaque text of sync/handshake/scope-era.ts, or `OF_FORMER_LOG`; null for a node without restrictions so far. */
  readonly scopeEra: string | null
  /**
   * Delivery sequence up to which the version vector of a client without watermark can be trusted; `EMPTY_LOG`
   * where it cannot be at all; 0 where unknown.
   */
  readonly legacyPosition: number
}

/** New properties of a node; those that are left out stay as they are. */
export interface NodeUpdate extends Partial<NodeRegistration> {
  readonly nodeId: string
}

/** A condition on a node without which an update changes nothing. */
export type NodeCondition = Pick<NodeRegistration, 'scopeEra'>

export interface HandshakeVectorQuery {
  /** Nodes of which the highest entry is wanted, whether of the owner or a guest. */
  readonly nodeIds: readonly string[]
  /** An entry that is wanted as it is: of a node's owner, or of a guest. @see guestEntry */
  readonly entry: string | null
  /** Nodes of this user, and nodes without a user, are included without being asked for. */
  readonly userId: string | null
  /** The most of these. */
  readonly maxOthers: number
}

/**
 * `scopeEra` of a node that had one when another log replaced the one that it had read. It equals no other, so that
 * whatever the node has counts as reached under another grant.
 */
export const OF_FORMER_LOG = 'restored'

/** `legacyPosition` of a node that came when there was no operation yet. Not 0, which means unknown. */
export const EMPTY_LOG = -1

/** The nodes that have connected to the server, and the version vector. */
export interface NodeIndex {
  /**
   * Maps each node to the highest sequence number that the store has of it; where carriers have brought its
   * operations, up to the first missing one. Entries of guests are left out. @see guestEntry
   */
  getVersionVector(): Promise<VersionVector>
  /** The part of the vector for a handshake, never the whole of a vector of millions. */
  getHandshakeVector(query: HandshakeVectorQuery): Promise<VersionVector>
  readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>>
  /**
   * Inserts or updates a node; a `userId` that is already set is kept. Returns the resulting registration.
   *
   * @param onlyWhile changes nothing if the node has since been granted another view: the update then is of a
   *   session that another one has followed
   */
  registerNode(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration>
}
