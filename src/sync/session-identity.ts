import type { AuthContext } from '../auth/provider.ts'
import type { ClientAccess } from './authorization.ts'

/** The identity of the client of a session, once its handshake is accepted. */
export interface SessionIdentity {
  readonly nodeId: string
  readonly auth: AuthContext
  readonly access: ClientAccess
  /**
   * The client sent a watermark, so it knows delivery sequences, refusals per operation, and the messages that came
   * with them.
   */
  readonly hasWatermark: boolean
  /**
   * Operations of the client itself that this server lacks, according to both sides at the handshake; if none,
   * those that the client writes next.
   */
  readonly owed: OwedOperations
}

/** Operations of one node, by sequence number. */
export interface OwedOperations {
  readonly above: number
  readonly through: number
}
