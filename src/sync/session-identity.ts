import type { AuthContext } from '../auth/provider.ts'
import type { ClientAccess } from './authorization.ts'

/** Who is at the other end, once the handshake is accepted. */
export interface SessionIdentity {
  readonly nodeId: string
  readonly auth: AuthContext
  readonly access: ClientAccess
  /** Sent a watermark: it knows delivery sequences, refusals per operation, and the messages that came with them. */
  readonly hasWatermark: boolean
  /**
   * Own operations of the client that this server lacks, as both said at the handshake; else what it writes
   * next.
   */
  readonly owed: OwedOperations
}

/** Operations of one node, by sequence number. */
export interface OwedOperations {
  readonly above: number
  readonly through: number
}
