import type { AuthContext } from './provider.ts'

/**
 * The end of a session that begins with a token: that of the token. A session that begins later, within the
 * tolerance for inaccurate clocks, ends when the token is no longer accepted: otherwise it would end as soon as it
 * began, and the client would return at once with the same token.
 *
 * @param exp the claim, in seconds
 * @param toleranceMs how long after `exp` the token is accepted
 * @returns seconds, as in claims
 */
export function endOfToken(exp: number, toleranceMs: number, nowMs: number): number {
  return nowMs < exp * 1000 ? exp : exp + toleranceMs / 1000
}

/**
 * True when `expiresAt` has passed. Checked before a client is let in, because the timer that ends its session only
 * runs later.
 */
export function hasEnded({ expiresAt = Number.POSITIVE_INFINITY }: AuthContext, nowMs: number): boolean {
  return expiresAt <= nowMs
}
