import type { LiveSample } from '../http/dashboard/api-types.ts'

/** In which of the last seconds a latency is looked for: in one without traffic there is none. */
const LOOKED_AT = 60
const SECOND_MS = 1000

/** The last latency that is known, and for how many whole seconds it is no longer that of the last one. */
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
