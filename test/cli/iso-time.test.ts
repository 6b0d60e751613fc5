import { expect, test } from 'vitest'
import { parseIsoTime } from '../../src/cli/iso-time.ts'

test.each([
  ['2026-01', Date.UTC(2026, 0)],
  ['2026-01-31', Date.UTC(2026, 0, 31)],
  ['2024-02-29', Date.UTC(2024, 1, 29)],
  ['2026-01-31T12:00Z', Date.UTC(2026, 0, 31, 12)],
  ['2026-01-31 12:00:30.5+02:00', Date.UTC(2026, 0, 31, 10, 0, 30, 500)],
  ['2025-06-01 12:00:00+02', Date.UTC(2025, 5, 1, 10)],
  ['2025-06-01T12:00-09', Date.UTC(2025, 5, 1, 21)],
  ['2026-01-31T12:00:00.25+0530', Date.UTC(2026, 0, 31, 6, 30, 0, 250)],
  ['2026-01-31T12:00:00', new Date(2026, 0, 31, 12).getTime()],
])('%s is a time', (text, ms) => {
  expect(parseIsoTime(text)).toBe(ms)
})

test.each([
  '',
  'soon',
  'foo 12',
  '01/02/2025',
  '2025',
  '2026-02-31',
  '2026-02-29T12:00Z',
  '2026-13-01',
  '2026-01-31T25:00Z',
  '2026-01-31 12',
  '2026-01-31 (or so)',
])('"%s" is none', (text) => {
  expect(parseIsoTime(text)).toBe(null)
})
