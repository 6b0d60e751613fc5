/** Buckets per doubling: a quantile is at most a fifth too high. */
const BUCKETS_PER_OCTAVE = 4
const SMALLEST_MS = 1 / 16
/** The last bucket starts at about a minute. */
const BUCKETS = 20 * BUCKETS_PER_OCTAVE

/** Durations in buckets that grow by a fifth each: a fixed few hundred bytes, however many durations are added. */
export class LatencyHistogram {
  readonly #counts = new Uint32Array(BUCKETS)
  #total = 0

  add(durationMs: number): void {
    const position = Math.floor(
      Math.log2(Math.max(durationMs, SMALLEST_MS) / SMALLEST_MS) * BUCKETS_PER_OCTAVE,
    )
    const bucket = Math.min(BUCKETS - 1, position)
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    this.#total++
  }

  /** @returns the upper end of the bucket that contains the quantile, in ms; null when nothing was added */
  quantile(share: number): number | null {
    if (this.#total === 0) return null
    let remaining = Math.ceil(this.#total * share)
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      remaining -= this.#counts[bucket] ?? 0
      if (remaining <= 0) return SMALLEST_MS * 2 ** ((bucket + 1) / BUCKETS_PER_OCTAVE)
    }
    return null
  }

  clear(): void {
    this.#counts.fill(0)
    this.#total = 0
  }
}
