/**
 * What servers of one database tell each other beside the log: presence and everything else that is
 * not stored. At most once: what is lost is sent again by whoever needs it to be known.
 */
export interface ClusterBus {
  /** Of this process. */
  readonly serverId: string
  /** Longest payload in bytes; a longer one is dropped. */
  readonly maxPayloadBytes: number
  /** The other servers that run, by their ids. */
  members(): ReadonlySet<string>
  /** Tells every other server. Returns at once; nothing is promised. */
  publish(topic: string, payload: string): void
  /**
   * Listens to what others publish, in their order. Who sends it is not proven: the listener throws a `ProtocolError`
   * for what no server publishes. Whatever it throws, or rejects with, is logged and costs nobody else anything.
   *
   * @returns a function that ends it
   */
  subscribe(topic: string, listener: ClusterListener): () => void
  /**
   * Tells of other servers: `joined` also when this one can hear a member again, which may have missed
   * something; `left` when it said so, or was silent for longer than its lease.
   */
  onMembership(listener: (change: MembershipChange) => void): () => void
}

export type ClusterListener = (payload: string, serverId: string) => unknown

/** Published, without a payload, when something was revoked: the revocations are to be read again. */
export const REVOKED_TOPIC = 'revoked'

export interface MembershipChange {
  readonly serverId: string
  readonly kind: 'joined' | 'left'
}
