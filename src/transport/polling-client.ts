import type { AuthContext } from '../auth/provider.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import type { PollingTransport } from './polling-transport.ts'
import type { PostOrder } from './post-order.ts'

/** How long a checked token is not checked again, unless it expires earlier. */
const TOKEN_CHECK_MS = 30_000

type Clocks = Pick<Runtime, 'now' | 'monotonicNow'>

/** The user who opened a session. */
export type Owner = Pick<AuthContext, 'userId' | 'isAnonymous'>

/** The state that HTTP polling keeps for one client, with the session that its handshake opened. */
export interface PollingClient {
  readonly id: string
  /** Number of its handshake, in the order in which requests came. */
  readonly arrival: number
  /** Number of the last request that had come when the handshake was accepted; infinite before that. */
  admittedAfter: number
  readonly transport: PollingTransport
  /** null when the session has ended: no more messages are put in order. */
  order: PostOrder | null
  readonly sessionId: string
  expiry: Timer | null
  /** The user who opened it; null before the handshake is accepted. Kept after the session has ended. */
  owner: Owner | null
  /**
   * Hash of the token of its handshake, or of the one last found to belong to its user; null: the caller checks the
   * sender.
   */
  tokenHash: string | null
  /** Until when the token need not be checked, by `monotonicNow`, so that setting back the clock cannot put it off. */
  checkedUntil: number
  /**
   * When the token expires, in ms since the epoch; 0 where it has not been judged, or was not accepted the last
   * time.
   */
  tokenEndsAt: number
  /** The session of the same user that has replaced this one: whatever is still queued here is for that client. */
  successor: PollingClient | null
}

/** Exempts the token from checks for `TOKEN_CHECK_MS`. */
export function trustToken(client: PollingClient, runtime: Clocks): void {
  client.checkedUntil = runtime.monotonicNow() + TOKEN_CHECK_MS
}

/** True while the token need not be checked, which is never past its own end. */
export function isTrusted({ checkedUntil, tokenEndsAt }: PollingClient, runtime: Clocks): boolean {
  return runtime.monotonicNow() < checkedUntil && runtime.now() < tokenEndsAt
}

/**
 * Lets a session whose token was good the last time continue while tokens cannot be judged: over a WebSocket its
 * token would not be checked again at all.
 *
 * @param clients with this token
 * @returns the one that may continue
 */
export function trustAgain(clients: readonly PollingClient[], runtime: Clocks): PollingClient | undefined {
  const now = runtime.now()
  const client = clients.find(({ tokenEndsAt }) => now < tokenEndsAt)
  if (client !== undefined) trustToken(client, runtime)
  return client
}

/** True for the same user. Anonymous users count as one, because nothing tells them apart. */
export function isSameUser(a: Owner | null, b: Owner | null): boolean {
  if (a === null || b === null) return false
  return a.userId === b.userId || (a.isAnonymous === true && b.isAnonymous === true)
}
