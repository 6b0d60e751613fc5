/**
 * Messages between servers of one database, beside the log: presence and everything else that is not stored.
 * Delivered at most once; a sender that needs a message to arrive has to repeat it.
 */
export interface ClusterBus {
  /** Id of this process. */
  readonly serverId: string
  /** The ids of the other running servers. */
  members(): ReadonlySet<string>
  /**
   * Sends a message to every other server. Returns at once, without any guarantee.
   *
   * @returns false when nothing is sent: there is no other server, the payload is too long, or too much of the
   *   topic is waiting
   */
  publish(topic: string, payload: string): boolean
  /**
   * Sends the payloads of `source` to every other server, as soon as there is room and before published messages.
   * It is for messages that must not be dropped, however much else is waiting. Passing the same source again while
   * it is waiting has no effect.
   */
  publishFrom(topic: string, source: ClusterSource): void
  /**
   * Listens to messages of other servers, in the order of each. The sender is not authenticated: the listener
   * throws a `ProtocolError` for a message that no server sends. An error or rejection of the listener is logged,
   * and affects nothing else.
   *
   * @returns a function that ends the subscription
   */
  subscribe(topic: string, listener: ClusterListener): () => void
  /**
   * Reports changes of membership. `joined` is also reported when this server can hear a member again, which may
   * have missed something; `left` when a server said so, or was silent for longer than its lease.
   */
  onMembership(listener: (change: MembershipChange) => void): () => void
}

/** Returns the next payload, as late as possible so that it can still change, or null when there is none. */
export type ClusterSource = () => string | null

export type ClusterListener = (payload: string, serverId: string) => unknown

/** Published without a payload when something was revoked, so that servers read the revocations again. */
export const REVOKED_TOPIC = 'revoked'

export interface MembershipChange {
  readonly serverId: string
  readonly kind: 'joined' | 'left'
}
