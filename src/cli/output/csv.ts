import { stringify } from 'csv-stringify/sync'

export type CsvValue = string | number | null

/**
 * Formats rows as CSV (RFC 4180, line feeds). Values appear as they are stored, with no additions for spreadsheets.
 * null is an empty cell, and an empty text is one in quotes.
 */
export function formatCsv(rows: readonly (readonly CsvValue[])[]): string {
  return stringify(rows as CsvValue[][], { record_delimiter: 'unix', quoted_match: QUOTED })
}

const QUOTED = /\r|^$/ // readers take a carriage return for the end of a row, and an empty cell for null
