import { PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics, getHeapStatistics, setFlagsFromString } from 'node:v8'

/**
 * How far V8 may let the heap grow beyond what was alive at the last collection, in percent. By default it allows
 * several times that where the machine has the memory: under a flood of requests the process held 240 MB, 37 of
 * them alive, because the remains of a connection are old by the time they are garbage. With 100 it holds 178, at
 * the same processor time per operation; with 50, 163, at 1 to 5 % more.
 *
 * @see docs/performance.md, "Old heap"
 */
const MAX_GROWTH_PERCENT = 100

/**
 * Size of the whole heap from which its growth is limited; below, it grows as V8 likes. Collections at 15, 25 and
 * 50 MB are a tenth of the cost of the first ten thousand operations.
 */
const BOUNDED_FROM_BYTES = 64 * 1024 * 1024

/**
 * Size of both halves of the young heap. By default it grows to 32 MB as soon as a thousand clients have come, and
 * stays there.
 *
 * @see docs/performance.md, "Young heap"
 */
const MAX_YOUNG_BYTES = 8 * 1024 * 1024

/**
 * The same for a server under load: a collection copies whatever is alive, which is what is on its way to the disk
 * or to clients, however long ago the last one was.
 */
const MAX_YOUNG_BYTES_UNDER_LOAD = 16 * 1024 * 1024

/**
 * Operations between two collections. Each leaves up to 10 kB behind, so above this they make up much of what is
 * collected.
 */
const OPERATIONS_UNDER_LOAD = 100

const DOUBLE = 2 // V8's default
const STAY = 1

/**
 * Keeps the process from holding much more memory than is alive. It affects the whole process, so it is for the
 * daemon and not for a library. A young heap size that an operator has set for Node is respected.
 *
 * @param countOperations returns the operations in and out since the start
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

/** @returns a function to call after each collection */
function boundOldHeap(): () => void {
  let isBounded = false
  return () => {
    if (isBounded || getHeapStatistics().total_heap_size < BOUNDED_FROM_BYTES) return
    setFlagsFromString(`--heap-growing-percent=${MAX_GROWTH_PERCENT}`)
    isBounded = true
  }
}

/**
 * Bounds the young heap by its growth: its size can be set only before the process starts, the growth factor at any
 * time.
 *
 * @returns a function to call after each collection
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
