/** A value at a time of a run. */
export interface Measure {
  readonly second: number
  readonly value: number
}

export interface Trend {
  readonly perHour: number
  /** What it is taken of. */
  readonly spanSeconds: number
  /** True where it is of what came after the beginning of the run, for long enough to say something. */
  readonly isSettled: boolean
}

/**
 * How a value changes, by least squares: after the beginning of a run where there is enough of it, else in
 * its second half.
 *
 * @param measures in order of time, however far apart
 * @param beginningSeconds that say nothing of the time after them
 * @param leastSpanSeconds between the first and the last measure of what counts as settled
 */
export function trendOf(
  measures: readonly Measure[],
  { beginningSeconds, leastSpanSeconds }: { beginningSeconds: number; leastSpanSeconds: number },
): Trend {
  const after = measures.filter(({ second }) => second >= beginningSeconds)
  const isSettled = spanOf(after) >= leastSpanSeconds
  const counted = isSettled ? after : measures.slice(measures.length / 2)
  return { perHour: slopePerHour(counted), spanSeconds: spanOf(counted), isSettled }
}

function spanOf(measures: readonly Measure[]): number {
  return (measures.at(-1)?.second ?? 0) - (measures[0]?.second ?? 0)
}

function slopePerHour(measures: readonly Measure[]): number {
  const meanSecond = meanOf(measures.map(({ second }) => second))
  const meanValue = meanOf(measures.map(({ value }) => value))
  let covariance = 0
  let variance = 0
  for (const { second, value } of measures) {
    covariance += (second - meanSecond) * (value - meanValue)
    variance += (second - meanSecond) ** 2
  }
  return variance === 0 ? 0 : (covariance / variance) * 3600
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
