import { expect, test } from 'vitest'
import { type CsvValue, formatCsv } from '../../../src/cli/output/csv.ts'

/** Reads CSV as databases do: a row ends with a line feed or a carriage return, and an empty cell is null. */
function parseCsv(text: string): (string | null)[][] {
  const rows: (string | null)[][] = [[]]
  for (const [, quoted, bare = '', end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n?|\n)/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? (bare === '' ? null : bare))
    if (end !== ',') rows.push([])
  }
  return rows.slice(0, -1)
}

test.each<{ row: CsvValue[] }>([
  { row: ['a\rb', '', null] },
  { row: [null, 'a\r\nb', 'c\n', '\r', ''] },
  { row: ['say "no"', 'a,b', '""', ' ', null] },
  { row: [''] },
])('$row comes out of CSV as it went in', ({ row }) => {
  expect(parseCsv(formatCsv([row, ['next']]))).toEqual([row, ['next']])
})
