import type { AuthContext } from './provider.ts'

/**
 * When a session that begins with a token ends: with the token. One that begins later, within what is
 * forgiven to clocks that are off, ends when the token is not taken any more; it would otherwise end
 * the moment it has begun, and its client come back with the same token at once.
 *
 * @param exp the claim, in seconds
 * @param toleranceMs how long after `exp` the token is taken
 * @returns seconds, as claims count
 */
export function endOfToken(exp: number, toleranceMs: number, nowMs: number): number {
  return nowMs < exp * 1000 ? exp : exp + toleranceMs / 1000
}

/** True when the time in `expiresAt` has come: who is let in all the same would be sent data until a timer runs. */
export function hasEnded({ expiresAt = Number.POSITIVE_INFINITY }: AuthContext, nowMs: number): boolean {
  return expiresAt <= nowMs
}
