import Table from 'cli-table3'
import type { ScenarioResult } from './run.ts'
import type { Bar, Metric, Sample } from './scenario.ts'
import { median } from './statistics.ts'

/** One metric of one scenario, ready to print or to keep. */
export interface ReportRow {
  readonly scenario: string
  readonly title: string
  readonly metric: string
  readonly unit: string
  /** In the order of the scenario, ours first; an object would put numbers before names. */
  readonly variants: readonly string[]
  readonly values: { readonly [variant: string]: Spread }
  readonly bars: readonly JudgedBar[]
}

interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
  /** What it was made of, in the order of the rounds. */
  readonly rounds: readonly number[]
}

interface JudgedBar {
  readonly against: string | null
  /** The median. */
  readonly ratio: number
  readonly spread: Spread
  readonly bar: string
  /** null where there is only a ratio to show. */
  readonly isMet: boolean | null
}

export function toRows({ scenario, samples }: ScenarioResult): ReportRow[] {
  return scenario.metrics.map((metric) => {
    const values: Record<string, Spread> = {}
    for (const [variant, ofVariant] of samples) {
      const measured = valuesOf(metric, ofVariant)
      if (measured.length > 0) values[variant] = spreadOf(measured)
    }
    const [own = ''] = scenario.variants
    return {
      scenario: scenario.name,
      title: scenario.title,
      metric: metric.label,
      unit: metric.unit,
      variants: scenario.variants.filter((variant) => variant in values),
      values,
      bars: (metric.bars ?? []).map((bar) => judge(metric, bar, own, samples)),
    }
  })
}

/** @param isJudging says whether a bar is met: runs of the smallest size tell nothing about that */
export function printTable(rows: readonly ReportRow[], { isJudging }: { isJudging: boolean }): string {
  const table = new Table({
    head: ['', 'scenario', 'metric', 'ours', 'limit (spread)', 'ratio (spread)', 'bar', ''],
    style: { head: [], border: [], compact: true },
  })
  for (const { scenario, title, metric, unit, variants, values, bars } of rows) {
    const [own, ...others] = variants.flatMap((name) => (values[name] ? [[name, values[name]] as const] : []))
    table.push([
      scenario,
      title,
      metric,
      own === undefined ? '' : showSpread(own[1], unit),
      others.map(([variant, spread]) => `${variant} ${showSpread(spread, unit)}`).join('\n'),
      bars.map(({ spread }) => showSpread(spread)).join('\n'),
      bars.map(({ bar }) => bar).join('\n'),
      isJudging ? bars.map(({ isMet }) => verdictOn(isMet)).join('\n') : '',
    ])
  }
  return table.toString()
}

function verdictOn(isMet: boolean | null): string {
  return isMet === null ? '' : isMet ? 'met' : 'MISSED'
}

/** Ratios are taken within a round, where both were measured back to back. */
function judge(metric: Metric, bar: Bar, own: string, samples: ScenarioResult['samples']): JudgedBar {
  const ours = valuesOf(metric, samples.get(own) ?? [])
  const theirs = bar.against === undefined ? null : valuesOf(metric, samples.get(bar.against) ?? [])
  const spread = spreadOf(
    theirs === null ? ours : ours.map((value, round) => value / (theirs[round] ?? Number.NaN)),
  )
  const ratio = spread.median
  const { atLeast, atMost } = bar
  const isMet =
    atLeast === undefined && atMost === undefined
      ? null
      : ratio >= (atLeast ?? Number.NEGATIVE_INFINITY) && ratio <= (atMost ?? Number.POSITIVE_INFINITY)
  const text = [
    atLeast === undefined ? '' : `>= ${atLeast}`,
    atMost === undefined ? '' : `<= ${atMost}`,
    bar.against ? `of ${bar.against}` : metric.unit,
  ]
  return { against: bar.against ?? null, ratio, spread, bar: text.filter(Boolean).join(' '), isMet }
}

function valuesOf({ key }: Metric, samples: readonly Sample[]): number[] {
  return samples.flatMap((sample) => sample[key] ?? [])
}

function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), rounds: values }
}

function showSpread({ median, min, max }: Spread, unit = ''): string {
  return [showNumber(median), unit, `(${showNumber(min)}–${showNumber(max)})`].filter(Boolean).join(' ')
}

function showNumber(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en')
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
}
