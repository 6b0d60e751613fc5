/**
 * What servers of one database tell each other beside the log: presence and everything else that is
 * not stored. At most once: what is lost is sent again by whoever needs it to be known.
 */
export interface ClusterBus {
  /** Id of this process. */
  readonly serverId: string
  /** The other servers that run, by their ids. */
  members(): ReadonlySet<string>
  /**
   * Tells every other server. Returns at once; nothing is promised.
   *
   * @returns false when nobody is told: there is no other server, the payload is too long, or more of the topic waits
   * than is kept
   */
  publish(topic: string, payload: string): boolean
  /**
   * Tells every other server what `source` gives, as soon as there is room for it and before what is published. For
   * what must not be dropped, however much of all else there is. One that is given again while it is asked is one.
   */
  publishFrom(topic: string, source: ClusterSource): void
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

/** Gives the next payload, which it has kept and changed until now, or null when there is none. */
export type ClusterSource = () => string | null

export type ClusterListener = (payload: string, serverId: string) => unknown

/** Published, without a payload, when something was revoked: the revocations are to be read again. */
export const REVOKED_TOPIC = 'revoked'

export interface MembershipChange {
  readonly serverId: string
  readonly kind: 'joined' | 'left'
}
