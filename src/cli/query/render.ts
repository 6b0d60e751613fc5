import { assertNever } from '../../core/errors.ts'
import type { MaterializedRecord } from '../../store/store.ts'
import { type CsvValue, formatCsv } from '../output/csv.ts'
import { columnCapacity, tableOn, tableWidth } from '../output/table.ts'
import type { Terminal } from '../terminal.ts'

export const QUERY_FORMATS = ['table', 'json', 'ndjson', 'csv'] as const
export type QueryFormat = (typeof QUERY_FORMATS)[number]

/** One column of the output. */
export interface Column {
  readonly field: string
  readonly kind: string
}

/** Prints records page by page, so that memory does not grow with the result. */
export interface RecordWriter {
  writePage(records: readonly MaterializedRecord[]): Promise<void>
  end(): Promise<void>
}

/** Creates the writer for a format, which prints each page as it comes. */
export function createRecordWriter(
  format: QueryFormat,
  columns: readonly Column[],
  terminal: Terminal,
): RecordWriter {
  switch (format) {
    case 'table':
      return tableWriter(columns, terminal)
    case 'json':
      return jsonWriter(columns, terminal)
    case 'ndjson':
      return ndjsonWriter(columns, terminal)
    case 'csv':
      return csvWriter(columns, terminal)
    default:
      return assertNever(format)
  }
}

/** The record with the requested columns, in their order. */
export function pickColumns(record: MaterializedRecord, columns: readonly Column[]): object {
  return Object.fromEntries(columns.map(({ field }) => [field, record[field] ?? null]))
}

function tableWriter(columns: readonly Column[], { stdout, stderr, env }: Terminal): RecordWriter {
  const shown = columns.slice(0, columnCapacity(tableWidth(stdout)))
  const hidden = columns.slice(shown.length).map((column) => column.field)
  const headers = shown.map((column) => column.field)
  const table = tableOn(stdout, env, headers)
  return {
    writePage: (records) =>
      stdout.write(table.format(records.map((record) => shown.map((column) => tableCell(record, column))))),
    async end() {
      if (hidden.length > 0) {
        await stderr.write(`Too narrow for ${hidden.join(', ')}; --fields chooses the columns.\n`)
      }
    },
  }
}

function jsonWriter(columns: readonly Column[], { stdout }: Terminal): RecordWriter {
  let isEmpty = true
  return {
    async writePage(records) {
      for (const record of records) {
        await stdout.write(`${isEmpty ? '[' : ','}\n  ${JSON.stringify(pickColumns(record, columns))}`)
        isEmpty = false
      }
    },
    end: () => stdout.write(isEmpty ? '[]\n' : '\n]\n'),
  }
}

function ndjsonWriter(columns: readonly Column[], { stdout }: Terminal): RecordWriter {
  return {
    writePage: (records) =>
      stdout.write(records.map((record) => `${JSON.stringify(pickColumns(record, columns))}\n`).join('')),
    async end() {},
  }
}

function csvWriter(columns: readonly Column[], { stdout }: Terminal): RecordWriter {
  const header = columns.map((column) => column.field)
  let isFirstPage = true
  const writePage = async (records: readonly MaterializedRecord[]) => {
    const rows = records.map((record) => columns.map(({ field }) => csvCell(record[field])))
    await stdout.write(formatCsv(isFirstPage ? [header, ...rows] : rows))
    isFirstPage = false
  }
  return {
    writePage,
    end: () => (isFirstPage ? writePage([]) : Promise.resolve()),
  }
}

function csvCell(value: unknown): CsvValue {
  if (value === null || value === undefined) return null
  if (typeof value === 'string' || typeof value === 'number') return value
  return JSON.stringify(value)
}

/** Formats a value for people: dates instead of milliseconds, texts without quotes, nothing for null. */
function tableCell(record: MaterializedRecord, { field, kind }: Column): string {
  const value = record[field]
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return value
  if (kind === 'timestamp' && typeof value === 'number') return formatInstant(value)
  return JSON.stringify(value)
}

function formatInstant(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString()
}
