import { describe, expect, test } from 'vitest'
import { type Measure, trendOf } from './trend.ts'

const SOAK = { beginningSeconds: 3600, leastSpanSeconds: 3000 }

/** A measure every 1.07 s, as a loop that sleeps for a second comes to. */
function measured(seconds: number, valueAt: (second: number) => number): Measure[] {
  const count = Math.floor(seconds / 1.07)
  return Array.from({ length: count }, (_, i) => ({ second: i * 1.07, value: valueAt(i * 1.07) }))
}

describe('the trend of a run', () => {
  test('of two hours is that of the second one, although it has fewer measures than seconds', () => {
    const growth = measured(7200, (second) => (second < 3600 ? second * 100 : 360_000 + second * 2))

    const { perHour, spanSeconds, isSettled } = trendOf(growth, SOAK)

    expect(isSettled).toBe(true)
    expect(perHour).toBeCloseTo(7200)
    expect(spanSeconds).toBeGreaterThan(3590)
  })

  test('of an hour and a few minutes is of no settled process', () => {
    expect(
      trendOf(
        measured(4200, () => 1),
        SOAK,
      ),
    ).toMatchObject({ isSettled: false, perHour: 0 })
  })

  test('of minutes is that of their second half', () => {
    const { perHour, isSettled } = trendOf(
      measured(300, (second) => Math.max(0, second - 140)),
      SOAK,
    )

    expect(isSettled).toBe(false)
    expect(perHour).toBeCloseTo(3600)
  })

  test('of nothing is none', () => {
    expect(trendOf([], SOAK)).toEqual({ perHour: 0, spanSeconds: 0, isSettled: false })
  })
})
