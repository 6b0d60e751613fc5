import { PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics, getHeapStatistics, setFlagsFromString } from 'node:v8'

/**
 * How much V8 may add to what it has found alive before it looks again, in percent. Left to itself it adds
 * several times that where the machine has the memory: under a flood of requests the process held 240 MB,
 * 37 of them alive, because what a connection leaves behind is old by the time it is garbage. With 100 it holds
 * 178, at the same processor time for each operation; with 50, 163, at 1 to 5 % more.
 *
 * @see docs/performance.md, "Old heap"
 */
const MAX_GROWTH_PERCENT = 100

/**
 * Size of the whole heap from which its growth is bounded; below, it grows as V8 likes. To look again at 15,
 * 25 and 50 MB is a tenth of what the first ten thousand operations cost.
 */
const BOUNDED_FROM_BYTES = 64 * 1024 * 1024

/**
 * Both halves of the young heap. Left to itself it grows to 32 MB as soon as a thousand clients have come, and
 * stays there.
 *
 * @see docs/performance.md, "Young heap"
 */
const MAX_YOUNG_BYTES = 8 * 1024 * 1024

/**
 * The same of a server that many operations go through: a collection copies what is alive, which is what is on its
 * way to the disk or to clients, however long the last one was ago.
 */
const MAX_YOUNG_BYTES_UNDER_LOAD = 16 * 1024 * 1024

/** From one collection to the next. Each leaves up to 10 kB behind, so that they are much of what is collected. */
const OPERATIONS_UNDER_LOAD = 100

const DOUBLE = 2 // what V8 does by itself
const STAY = 1

/**
 * Keeps the process from holding much more memory than is alive: of the whole process, so for the daemon and not
 * for a library. An operator who has given Node a size for the young heap gets that.
 *
 * @param countOperations how many have come and gone since the start
 */
export function boundHeapGrowth(countOperations: () => number): void {
  const nodeOptions = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ')
  const bounds = [
    boundOldHeap(),
    ...(/semi[-_]space/.test(nodeOptions) ? [] : [boundYoungHeap(countOperations)]),
  ]
  const observer = new PerformanceObserver(() => {
    for (const look of bounds) look()
  })
  observer.observe({ entryTypes: ['gc'] })
}

/** @returns to be called after each collection */
function boundOldHeap(): () => void {
  let isBounded = false
  return () => {
    if (isBounded || getHeapStatistics().total_heap_size < BOUNDED_FROM_BYTES) return
    setFlagsFromString(`--heap-growing-percent=${MAX_GROWTH_PERCENT}`)
    isBounded = true
  }
}

/**
 * The size itself can be set only before the process starts; by how much it grows, at any time.
 *
 * @returns to be called after each collection
 */
function boundYoungHeap(countOperations: () => number): () => void {
  let growth = DOUBLE
  let counted = 0
  return () => {
    const operations = countOperations()
    const isUnderLoad = operations - counted >= OPERATIONS_UNDER_LOAD
    counted = operations
    const maxBytes = isUnderLoad ? MAX_YOUNG_BYTES_UNDER_LOAD : MAX_YOUNG_BYTES
    const next = youngHeapBytes() < maxBytes ? DOUBLE : STAY
    if (next !== growth) setFlagsFromString(`--semi-space-growth-factor=${next}`)
    growth = next
  }
}

function youngHeapBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0
}
