import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { formatClock, formatTime } from '../format.ts'

export interface ChartSeries {
  readonly label: string
  /** Name of a colour in the style sheet. */
  readonly colour: string
  readonly values: readonly (number | null)[]
}

export interface ChartProperties {
  readonly title: string
  /** ms since the epoch, ascending */
  readonly times: readonly number[]
  readonly series: readonly ChartSeries[]
  readonly format: (value: number) => string
  /** True for values that are counted: no line of the grid stands between two of them. */
  readonly isWhole?: boolean
}

const HEIGHT = 170
/** Shortest span of the axis, so that a fresh server does not look restless. */
const SHORTEST_SPAN_SECONDS = 120
/** Distances between lines of the grid: 1, 2, 5, 10, 20, … */
const WHOLE_STEPS = Array.from({ length: 10 }, (_, power) =>
  [1, 2, 5].map((step) => step * 10 ** power),
).flat()

/** Lines over time. Shows the newest values, or those at the pointer. */
export function Chart({ title, times, series, format, isWhole = false }: ChartProperties): JSX.Element {
  const holder = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const [pointed, setPointed] = useState<number | null>(null)
  const theme = useTheme()
  const labels = series.map(({ label }) => label).join()

  // a chart is recreated for another theme; data follow below
  useEffect(() => {
    const element = holder.current
    if (element === null) return
    const chart = new uPlot(
      optionsOf(element, { series, format, isWhole, onPoint: setPointed }),
      [[]],
      element,
    )
    plot.current = chart
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: HEIGHT }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      chart.destroy()
      plot.current = null
    }
  }, [theme, labels])

  useEffect(() => {
    plot.current?.setData([times.map((at) => at / 1000), ...series.map(({ values }) => [...values])])
  }, [times, series, theme])

  const index = pointed ?? times.length - 1
  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{title}</span>
        <span class="legend">
          {series.map(({ label, colour, values }) => (
            <span key={label}>
              <i class={`swatch ${colour}`} aria-hidden="true" />
              {label} <b>{valueText(values[index], format)}</b>
            </span>
          ))}
          {pointed !== null && <span class="quiet">{formatTime(times[pointed] ?? 0)}</span>}
        </span>
      </figcaption>
      <div ref={holder} class="plot" />
    </figure>
  )
}

function valueText(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? '–' : format(value)
}

interface PlotParts {
  readonly series: readonly ChartSeries[]
  readonly format: (value: number) => string
  readonly isWhole: boolean
  readonly onPoint: (index: number | null) => void
}

function optionsOf(element: HTMLElement, { series, format, isWhole, onPoint }: PlotParts): uPlot.Options {
  const style = getComputedStyle(element)
  const colourOf = (name: string): string => style.getPropertyValue(`--${name}`).trim()
  const axis = {
    stroke: colourOf('quiet'),
    font: '11px system-ui, sans-serif',
    grid: { stroke: colourOf('line'), width: 1 },
    ticks: { show: false },
  }
  return {
    width: Math.max(element.clientWidth, 100),
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: (_plot, min, max) => [Math.min(min, max - SHORTEST_SPAN_SECONDS), max] },
      y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.15 : 1] },
    },
    axes: [
      { ...axis, size: 26, space: 90, values: (_plot, values) => values.map((at) => formatClock(at * 1000)) },
      {
        ...axis,
        size: 54,
        space: 36,
        values: (_plot, values) => values.map(format),
        ...(isWhole && { incrs: WHOLE_STEPS }),
      },
    ],
    series: [
      {},
      ...series.map(({ label, colour }) => ({
        label,
        stroke: colourOf(colour),
        width: 1.5,
        spanGaps: true,
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [({ cursor }) => onPoint(cursor.idx ?? null)] },
  }
}

/** Changes when the colours of the page do. */
function useTheme(): 'dark' | 'light' {
  const [query] = useState(() => matchMedia('(prefers-color-scheme: dark)'))
  const [isDark, setIsDark] = useState(query.matches)
  useEffect(() => {
    const follow = (): void => setIsDark(query.matches)
    query.addEventListener('change', follow)
    return () => query.removeEventListener('change', follow)
  }, [query])
  return isDark ? 'dark' : 'light'
}
