import type { Operation } from './operation.ts'
import { type Refusal, refuse } from './refusal.ts'

/**
 * How far the clock of a device may run ahead of ours. Kora clients stamp their queue again when
 * they find themselves further ahead, and stop applying what is 5 minutes ahead.
 */
export const FUTURE_TOLERANCE_MS = 60_000

/**
 * Refuses an operation written by a clock that runs ahead of ours: a future timestamp would win
 * every merge of its record until real time caught up.
 *
 * @param nowMs server time, ms since the epoch
 * @see docs/protocol.md, "Clocks"; Kulkarni et al., Logical Physical Clocks (2014)
 */
export function refuseFutureClock(operation: Operation, nowMs: number): Refusal | null {
  const aheadMs = operation.timestamp.wallTime - nowMs
  if (aheadMs <= FUTURE_TOLERANCE_MS) return null
  return refuse(
    'INVALID_TIMESTAMP',
    `Its clock is ${Math.round(aheadMs / 1000)} s ahead of the server's (${FUTURE_TOLERANCE_MS / 1000} s allowed). ` +
      `Check the time of node ${operation.nodeId}.`,
  )
}
