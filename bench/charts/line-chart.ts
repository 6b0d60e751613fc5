/** One line of a chart. */
export interface Series {
  /** '' where there is only one. */
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface LineChart {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  readonly series: readonly Series[]
}

const WIDTH = 640
const HEIGHT = 320
const PLOT = { left: 64, right: 616, top: 48, bottom: 264 }
const COLOURS = ['#1f6feb', '#8250df', '#bf8700', '#1a7f37']
const Y_STEPS = 4

/**
 * A chart as an SVG text: x by powers of ten, y linear from 0, so that what is flat looks flat.
 *
 * The libraries for charts want a browser, or are a hundred times the size of this file.
 */
export function renderLineChart({ title, xLabel, yLabel, series }: LineChart): string {
  const points = series.flatMap((line) => line.points)
  const xs = points.map(([x]) => Math.log10(x))
  const [minX, maxX] = [Math.floor(Math.min(...xs)), Math.ceil(Math.max(...xs))]
  const yStep = roundUp(Math.max(...points.map(([, y]) => y)) / Y_STEPS)
  const toX = (x: number): number =>
    PLOT.left + ((Math.log10(x) - minX) / Math.max(1, maxX - minX)) * (PLOT.right - PLOT.left)
  const toY = (y: number): number => PLOT.bottom - (y / (yStep * Y_STEPS)) * (PLOT.bottom - PLOT.top)
  const decades = Array.from({ length: maxX - minX + 1 }, (_, index) => 10 ** (minX + index))
  const steps = Array.from({ length: Y_STEPS + 1 }, (_, index) => index * yStep)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    text(PLOT.left, 24, title, 'font-size="14" font-weight="bold"'),
    ...steps.flatMap((y) => [
      line([PLOT.left, toY(y)], [PLOT.right, toY(y)], '#d0d7de'),
      text(PLOT.left - 8, toY(y) + 4, formatNumber(y), 'text-anchor="end"'),
    ]),
    ...decades.flatMap((x) => [
      line([toX(x), PLOT.bottom], [toX(x), PLOT.bottom + 5], '#57606a'),
      text(toX(x), PLOT.bottom + 20, formatNumber(x), 'text-anchor="middle"'),
    ]),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 42, xLabel, 'text-anchor="middle"'),
    `<text transform="translate(16 ${(PLOT.top + PLOT.bottom) / 2}) rotate(-90)" text-anchor="middle" fill="#24292f">${escapeXml(yLabel)}</text>`,
    ...series.flatMap((data, index) => renderSeries(data, index, toX, toY)),
    '</svg>',
    '',
  ].join('\n')
}

function renderSeries(
  { name, points }: Series,
  index: number,
  toX: (x: number) => number,
  toY: (y: number) => number,
): string[] {
  const colour = COLOURS[index % COLOURS.length] ?? ''
  const places = [...points].sort(([a], [b]) => a - b).map(([x, y]) => [toX(x), toY(y)] as const)
  const path = places.map(([x, y]) => `${round(x)},${round(y)}`).join(' ')
  return [
    `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    ...places.map(([x, y]) => `<circle cx="${round(x)}" cy="${round(y)}" r="3" fill="${colour}"/>`),
    ...(name === ''
      ? []
      : [text(PLOT.right, PLOT.top - 8 + index * 16, name, `text-anchor="end" fill="${colour}"`)]),
  ]
}

function line([x1, y1]: readonly [number, number], [x2, y2]: readonly [number, number], colour: string) {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="${colour}"/>`
}

function text(x: number, y: number, content: string, attributes: string): string {
  const fill = attributes.includes('fill=') ? '' : ' fill="#24292f"'
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}${fill}>${escapeXml(content)}</text>`
}

function escapeXml(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

/** The next number above that people count in: 1, 2, 2.5 or 5 times a power of ten. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 2.5, 5].find((factor) => factor * power >= value) ?? 10) * power
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

function formatNumber(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en', { maximumFractionDigits: 3 })
}
