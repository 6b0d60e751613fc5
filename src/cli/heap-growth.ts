import { setFlagsFromString } from 'node:v8'

/**
 * How much V8 may add to what it has found alive before it looks again, in percent. Left to itself it adds
 * several times that where the machine has the memory: under a flood of requests the process held 240 MB,
 * 37 of them alive, because what a connection leaves behind is old by the time it is garbage. With 100 it holds
 * 178, at the same processor time for each operation; with 50, 163, at 1 to 5 % more.
 *
 * @see docs/performance.md, "Old heap"
 */
const MAX_GROWTH_PERCENT = 100

/** Makes V8 collect old garbage before it is more than what is alive. Of the whole process: for the daemon, not for a library. */
export function boundHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${MAX_GROWTH_PERCENT}`)
}
