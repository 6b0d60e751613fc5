import Table from 'cli-table3'
import type { Output, Terminal } from '../terminal.ts'
import { type Colours, createColours } from './colours.ts'
import { escapeControls } from './escape-controls.ts'

const GAP = '  '
const MIN_COLUMN_WIDTH = 6
/** Limits alignment where nothing is cut: one long text would make every other row as long. */
const MAX_ALIGNED_WIDTH = 200
/** UTF-16 units per column of a terminal: a family of four takes 11, and is two columns wide. */
const MAX_UNITS_PER_COLUMN = 8

export interface TableOptions {
  readonly headers: readonly string[]
  /**
   * Maximum width of the table, if its columns fit into it; infinite: nothing is cut.
   *
   * @see columnCapacity
   */
  readonly width: number
  readonly colours: Colours
}

/** A table as wide as the output, in its colours. */
export function tableOn(output: Output, env: Terminal['env'], headers: readonly string[]): TableWriter {
  return new TableWriter({ headers, width: tableWidth(output), colours: createColours(output, env) })
}

/** Width of a table on this output: unlimited unless it is a terminal. */
export function tableWidth({ isTerminal, columns }: Output): number {
  return isTerminal ? columns : Number.POSITIVE_INFINITY
}

/**
 * Prints rows in aligned columns, page by page: the widths follow from the header and the first page, so memory
 * holds only one page.
 */
export class TableWriter {
  readonly #options: TableOptions
  #columnWidths: readonly number[] | null = null

  constructor(options: TableOptions) {
    this.#options = options
  }

  /** The text for a page of rows; the first page includes the header. */
  format(rows: readonly (readonly string[])[]): string {
    const cells = rows.map((row) => row.map(escapeControls))
    const { headers, colours, width } = this.#options
    const isFirstPage = this.#columnWidths === null
    this.#columnWidths ??= fitColumns(naturalWidths([headers, ...cells]), width)
    const widths = this.#columnWidths
    const head = isFirstPage ? formatRows([headers.map((header) => colours.bold(header))], widths) : ''
    if (width === Number.POSITIVE_INFINITY) return head + cells.map((row) => uncutRow(row, widths)).join('')
    return (
      head +
      formatRows(
        cells.map((row) => shortened(row, widths)),
        widths,
      )
    )
  }
}

/** Prints a row without cutting: a cell that is too wide shifts only its own row. */
function uncutRow(row: readonly string[], columnWidths: readonly number[]): string {
  const padded = row.map((cell, column) => {
    const room = Math.max(0, (columnWidths[column] ?? 0) - displayWidth(cell))
    return cell + ' '.repeat(room)
  })
  return `${padded.join(GAP).trimEnd()}\n`
}

/** Shortens cells to roughly the column's width first, because cli-table3 takes quadratic time to cut a long cell. */
function shortened(row: readonly string[], columnWidths: readonly number[]): readonly string[] {
  return row.map((cell, column) => cell.slice(0, MAX_UNITS_PER_COLUMN * (columnWidths[column] ?? 0)))
}

function formatRows(rows: readonly (readonly string[])[], columnWidths: readonly number[]): string {
  if (rows.length === 0) return ''
  const table = createTable(columnWidths)
  for (const row of rows) table.push([...row])
  return `${trimLineEnds(table.toString())}\n`
}

function createTable(columnWidths: readonly number[]): Table.Table {
  const none = ''
  return new Table({
    // cli-table3 includes the gap, which is the right padding, in the width of a column.
    colWidths: columnWidths.map((width) => width + GAP.length),
    style: { 'padding-left': 0, 'padding-right': GAP.length, head: [], border: [] },
    chars: {
      top: none,
      'top-mid': none,
      'top-left': none,
      'top-right': none,
      bottom: none,
      'bottom-mid': none,
      'bottom-left': none,
      'bottom-right': none,
      left: none,
      'left-mid': none,
      mid: none,
      'mid-mid': none,
      right: none,
      'right-mid': none,
      middle: none,
    },
  })
}

function naturalWidths(rows: readonly (readonly string[])[]): number[] {
  const widths = (rows[0] ?? []).map(() => MIN_COLUMN_WIDTH)
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, displayWidth(cell))
    })
  }
  return widths
}

/** How many columns fit into a table of this width; at least one. */
export function columnCapacity(width: number): number {
  return Math.max(1, Math.floor((width + GAP.length) / (MIN_COLUMN_WIDTH + GAP.length)))
}

/** Narrows the widest columns first, so that short ones (numbers, flags) stay complete. */
export function fitColumns(widths: readonly number[], totalWidth: number): number[] {
  if (totalWidth === Number.POSITIVE_INFINITY)
    return widths.map((width) => Math.min(width, MAX_ALIGNED_WIDTH))
  const available = totalWidth - GAP.length * (widths.length - 1)
  const sum = (limit: number) => widths.reduce((total, width) => total + Math.min(width, limit), 0)
  let limit = Math.min(Math.max(MIN_COLUMN_WIDTH, ...widths), Math.max(MIN_COLUMN_WIDTH, totalWidth))
  while (limit > MIN_COLUMN_WIDTH && sum(limit) > available) limit--
  return widths.map((width) => Math.min(width, limit))
}

function trimLineEnds(text: string): string {
  const lines = text.split('\n')
  return lines.map((line) => line.trimEnd()).join('\n')
}

/** Columns that the text takes on a terminal: wide characters count twice, combining ones not at all. */
function displayWidth(text: string): number {
  let width = 0
  for (const [piece, plain] of text.matchAll(PIECES)) width += plain?.length ?? widthOfGraphemes(piece)
  return width
}

/** Plain characters that nothing combines with; others in short pieces, because segmenting takes quadratic time. */
const PIECES = /([ -~]+)(?=[ -~]|$)|.{1,200}/gsu

function widthOfGraphemes(text: string): number {
  let width = 0
  for (const { segment } of GRAPHEMES.segment(text)) width += isWide(segment) ? 2 : 1
  return width
}

const GRAPHEMES = new Intl.Segmenter()
const WIDE =
  /\p{Emoji_Presentation}|\p{Script=Han}|\p{Script=Hangul}|\p{Script=Hiragana}|\p{Script=Katakana}|[\uff01-\uff60\uffe0-\uffe6]/u

function isWide(grapheme: string): boolean {
  return WIDE.test(grapheme)
}
