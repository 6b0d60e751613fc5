import type { AuthContext } from '../auth/provider.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import type { PollingTransport } from './polling-transport.ts'
import type { PostOrder } from './post-order.ts'

/** How long a checked token need not be checked again, unless it says itself that it ends before. */
const TOKEN_CHECK_MS = 30_000

type Clocks = Pick<Runtime, 'now' | 'monotonicNow'>

/** The user who opened a session. */
export type Owner = Pick<AuthContext, 'userId' | 'isAnonymous'>

/** What HTTP polling knows of one client, with the session that its handshake opened. */
export interface PollingClient {
  readonly id: string
  /** Number of its handshake, in the order in which requests came. */
  readonly arrival: number
  /** Number of the last request that had come when the handshake was accepted; infinite before. */
  admittedAfter: number
  readonly transport: PollingTransport
  /** null when the session has ended: nothing more is put in order. */
  order: PostOrder | null
  readonly sessionId: string
  expiry: Timer | null
  /** Who opened it; null before the handshake is accepted. Kept when the session has ended. */
  owner: Owner | null
  /**
   * Hash of the token that its handshake came with, or that was last found to be of its user; null: the
   * caller checks.
   */
  tokenHash: string | null
  /** Until when the token need not be checked, by `monotonicNow`: a clock that is set back must not put it off. */
  checkedUntil: number
  /** When the token ends, in ms since the epoch; 0 where it has not been judged, or was not accepted the last time. */
  tokenEndsAt: number
  /** The one of the same user that has taken its place: what still waits here is for that. */
  successor: PollingClient | null
}

/** Spares the token its next check for `TOKEN_CHECK_MS`. */
export function trustToken(client: PollingClient, runtime: Clocks): void {
  client.checkedUntil = runtime.monotonicNow() + TOKEN_CHECK_MS
}

/** True while the token need not be checked: not beyond its own end. */
export function isTrusted({ checkedUntil, tokenEndsAt }: PollingClient, runtime: Clocks): boolean {
  return runtime.monotonicNow() < checkedUntil && runtime.now() < tokenEndsAt
}

/**
 * While the token cannot be judged, a session goes on where it was good the last time: over a WebSocket it would not be
 * asked for again at all.
 *
 * @param clients those that go by the token
 * @returns the one that goes on
 */
export function trustAgain(clients: readonly PollingClient[], runtime: Clocks): PollingClient | undefined {
  const now = runtime.now()
  const client = clients.find(({ tokenEndsAt }) => now < tokenEndsAt)
  if (client !== undefined) trustToken(client, runtime)
  return client
}

/** Anonymous users are one: nobody can tell them apart. */
export function isSameUser(a: Owner | null, b: Owner | null): boolean {
  if (a === null || b === null) return false
  return a.userId === b.userId || (a.isAnonymous === true && b.isAnonymous === true)
}
