import type { LiveSample } from '../http/dashboard/api-types.ts'

/** How many of the last seconds are searched for a latency, because a second without traffic has none. */
const LOOKED_AT = 60
const SECOND_MS = 1000

/** The last known latency, and how many whole seconds old it is. */
export interface LastLatency {
  readonly p99Ms: number
  readonly ageMs: number
}

/** The time to acknowledge. @param samples oldest first */
export function lastLatency(samples: readonly LiveSample[]): LastLatency | null {
  const last = samples.at(-1)
  const known = samples.slice(-LOOKED_AT).findLast(({ acknowledgeP99Ms }) => acknowledgeP99Ms !== null)
  if (last === undefined || known === undefined || known.acknowledgeP99Ms === null) return null
  return { p99Ms: known.acknowledgeP99Ms, ageMs: SECOND_MS * Math.round((last.at - known.at) / SECOND_MS) }
}
