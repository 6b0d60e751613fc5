import { appendFileSync } from 'node:fs'

/** `npm run test:trust` runs the tests of `test/trust` at their full size, `npm test` at the gate's. */
export const IS_FULL = process.env.KORA_TRUST === 'full'
const FULL_TIMEOUT_MS = 4 * 3_600_000

/** How often, or how long, a test of `test/trust` tries. */
export function sized(gate: number, full: number): number {
  return IS_FULL ? full : gate
}

/** The time a test may take before it counts as hung, ms. */
export function timeoutMs(gate: number): number {
  return IS_FULL ? FULL_TIMEOUT_MS : gate
}

/** @returns the value that a share of them stays at or below, rounded to a tenth: 0.99 for the p99 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.round((sorted[Math.ceil(sorted.length * share) - 1] ?? Number.NaN) * 10) / 10
}

/**
 * Prints what a test came to. `KORA_TRUST_REPORT` names a file that collects these lines, one JSON
 * object each: the figures of docs/reliability.md.
 */
export function reportFigures(name: string, figures: { readonly [figure: string]: number | string }): void {
  const text = Object.entries(figures).map(([figure, value]) => `${value} ${figure}`)
  console.log(`${name}: ${text.join(', ')}`)
  const file = process.env.KORA_TRUST_REPORT
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ name, figures })}\n`)
}
