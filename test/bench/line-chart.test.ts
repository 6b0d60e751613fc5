import { expect, test } from 'vitest'
import { renderLineChart } from '../../bench/charts/line-chart.ts'

const CHART = { title: 'Ingest & more', xLabel: 'operations', yLabel: 'CPU, s' }

test('a chart shows every point: x by powers of ten, y from 0', () => {
  const svg = renderLineChart({
    ...CHART,
    series: [
      {
        name: '',
        points: [
          [1000, 1],
          [1, 0.5],
        ],
      },
    ],
  })

  expect(svg).toContain('<polyline points="64,156 616,48"') // from x = 1 to x = 1000, from half of y to all of it
  expect(svg.match(/<circle /g)).toHaveLength(2)
  expect(svg).toContain('>1,000</text>')
})

test('names cannot break the text of a chart', () => {
  const svg = renderLineChart({ ...CHART, series: [{ name: '<b>"', points: [[1, 1]] }] })

  expect(svg).toContain('<title>Ingest &amp; more</title>')
  expect(svg).toContain('&lt;b>&quot;')
})
