import picocolors from 'picocolors'
import { describe, expect, test } from 'vitest'
import { fitColumns, TableWriter } from '../../../src/cli/output/table.ts'

const colours = picocolors.createColors(false)

describe('TableWriter', () => {
  test('aligns the columns under their headers', () => {
    const table = new TableWriter({ headers: ['id', 'title'], width: 80, colours })

    expect(
      table.format([
        ['a', 'Buy milk'],
        ['bcdefghij', ''],
      ]),
    ).toBe('id         title\na          Buy milk\nbcdefghij\n')
  })

  test('never exceeds the width of the terminal', () => {
    const table = new TableWriter({ headers: ['id', 'title', 'note'], width: 40, colours })

    const lines = table.format([['record-1', 'x'.repeat(60), 'y'.repeat(500)]]).split('\n')

    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(40)
    expect(lines[1]).toContain('record-1')
    expect(lines[1]).toContain('…')
  })

  test('keeps the columns of the first page for the next', () => {
    const table = new TableWriter({ headers: ['id', 'title'], width: 80, colours })

    table.format([['record-1', 'a']])

    expect(table.format([['r2', 'b']])).toBe('r2        b\n')
  })

  test('of no width cuts nothing, on no page', () => {
    const table = new TableWriter({ headers: ['id', 'title', 'done'], width: Infinity, colours })
    const long = 'x'.repeat(100_000)

    const first = table.format([
      ['r1', 'milk', 'false'],
      ['r2', long, 'true'],
    ])
    const next = table.format([[`r3${long}`, 'tea', 'true']])

    expect(first.split('\n')).toEqual([
      `id      title${' '.repeat(197)}done`,
      `r1      milk${' '.repeat(198)}false`,
      `r2      ${long}  true`,
      '',
    ])
    expect(next).toBe(`r3${long}  tea${' '.repeat(199)}true\n`)
  })

  test('aligns what is wide, combined or long', () => {
    const table = new TableWriter({ headers: ['title', 'done'], width: Infinity, colours })
    const titles = ['e\u0301e\u0301', '漢'.repeat(30_000), `caf\u00e9 ${'👍🏽'.repeat(3)}`, 'x'.repeat(250)]
    const columns = [2, 60_000, 11, 250]

    const lines = table.format(titles.map((title) => [title, 'true'])).split('\n')

    expect(lines.slice(1, -1)).toEqual(
      titles.map((title, i) => `${title}${' '.repeat(Math.max(0, 200 - (columns[i] ?? 0)))}  true`),
    )
  })

  test('cuts a long text of wide characters to the width of the terminal', () => {
    const table = new TableWriter({ headers: ['title'], width: 20, colours })

    expect(table.format([['漢'.repeat(30_000)]])).toBe(`title\n${'漢'.repeat(9)}…\n`)
  })

  test('shows control characters instead of obeying them', () => {
    const table = new TableWriter({ headers: ['title'], width: 80, colours })

    expect(table.format([['\u001b[2J\nforged\u202e']])).toBe('title\n\\u001b[2J\\nforged\\u202e\n')
  })
})

describe('fitColumns', () => {
  test('takes from the widest first', () => {
    expect(fitColumns([8, 100, 10], 50)).toEqual([8, 28, 10])
  })

  test('leaves six characters to each column', () => {
    expect(fitColumns([100, 100, 100], 10)).toEqual([6, 6, 6])
  })
})
