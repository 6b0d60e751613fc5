import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ReportRow } from '../harness/report.ts'
import type { Scenario } from '../harness/scenario.ts'
import { renderLineChart, type Series } from './line-chart.ts'

/**
 * Draws the charts of the scenarios that a file of results (`--json`) holds.
 *
 * @returns the files that were written
 */
export function drawCharts(resultsFile: string, scenarios: readonly Scenario[], directory: string): string[] {
  const { rows } = JSON.parse(readFileSync(resultsFile, 'utf8')) as { rows: ReportRow[] } // written by this program
  mkdirSync(directory, { recursive: true })
  const written: string[] = []
  for (const { name, chart } of scenarios) {
    const row = rows.find(({ scenario, metric }) => scenario === name && metric === chart?.metric)
    if (chart === undefined || row === undefined) continue
    const file = join(directory, `${chart.file}.svg`)
    const { title, unit } = row
    const yLabel = unit === '' ? row.metric : `${row.metric}, ${unit}`
    writeFileSync(file, renderLineChart({ title, xLabel: chart.xLabel, yLabel, series: [seriesOf(row)] }))
    written.push(file)
  }
  return written
}

/** The variants of a growth scenario are sizes, written as people read them. */
export function sizeOf(variant: string): number {
  return Number(variant.replaceAll(',', ''))
}

function seriesOf({ values }: ReportRow): Series {
  const points = Object.entries(values).map(([variant, { median }]) => [sizeOf(variant), median] as const)
  return { name: '', points: points.filter(([size]) => size > 0) } // NaN for what is no size
}
