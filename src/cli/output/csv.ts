import { stringify } from 'csv-stringify/sync'

export type CsvValue = string | number | null

/** Rows as CSV (RFC 4180, line feeds). Values stand as they are stored; nothing is added for spreadsheets. */
export function formatCsv(rows: readonly (readonly CsvValue[])[]): string {
  return stringify(rows as CsvValue[][], { record_delimiter: 'unix' })
}
