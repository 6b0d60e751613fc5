/**
 * The next entries of several ascending streams, in order and without repeats.
 *
 * Each list holds what its stream has next, at most `chunkSize`; a list that is shorter has come to
 * its stream's end. A sequence may be given out only when no stream can still hold a smaller one, so
 * the merge stops at the smallest end of the lists that go on.
 */
export function mergeSequences(lists: readonly (readonly number[])[], chunkSize: number): MergedSequences {
  let horizon = Number.POSITIVE_INFINITY
  for (const list of lists) {
    if (list.length >= chunkSize) horizon = Math.min(horizon, list[list.length - 1] ?? horizon)
  }
  const merged = new Set<number>()
  for (const list of lists) for (const sequence of list) if (sequence <= horizon) merged.add(sequence)
  return { sequences: [...merged].sort((a, b) => a - b), isEnd: horizon === Number.POSITIVE_INFINITY }
}

export interface MergedSequences {
  readonly sequences: readonly number[]
  /** True when the streams hold nothing beyond. */
  readonly isEnd: boolean
}

/**
 * How many entries to take from each of `streamCount` streams towards a page: each could hold all
 * of it, but together they must not read many pages for one.
 */
export function chunkSizeFor(limit: number, streamCount: number): number {
  return Math.min(limit, Math.max(MIN_CHUNK, Math.ceil((2 * limit) / streamCount)))
}

// Fewer would cost a query per handful of rows.
const MIN_CHUNK = 16
