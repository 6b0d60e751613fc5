import { expect, test } from 'vitest'
import { readEvents } from '../../src/dashboard/event-stream.ts'
import { parseFilterValue } from '../../src/dashboard/filter-value.ts'
import {
  formatBytes,
  formatMs,
  formatQuantity,
  formatTime,
  shortId,
  visibleLines,
  visibleText,
} from '../../src/dashboard/format.ts'

test.each([
  ['a\u0000b', 'a⟨U+0000⟩b'],
  ['\u001b[31mred', '⟨U+001B⟩[31mred'],
  ['first\nsecond\tthird', 'first↵second⇥third'],
  ['\u202Egnp.exe', '⟨U+202E⟩gnp.exe'],
  ['admin\u200b', 'admin⟨U+200B⟩'],
  ['\u{e0041}tag', '⟨U+E0041⟩tag'],
  ['Straße 漢字 👩‍👩‍👧 <b>', 'Straße 漢字 👩‍👩‍👧 <b>'],
])('text shows what would disguise it: %j', (text, shown) => {
  expect(visibleText(text)).toBe(shown)
})

test('line breaks stay where there is room for them', () => {
  expect(visibleLines('one\n\u202etwo')).toBe('one\n⟨U+202E⟩two')
})

test('quantities are short', () => {
  expect([0, 999, 1000, 5_000_000].map(formatBytes)).toEqual(['0 B', '999 B', '1.0 kB', '5.0 MB'])
  expect([null, 0, 0.25, 2.5, 640, 12_340].map(formatMs)).toEqual([
    '–',
    '0 ms',
    '0.25 ms',
    '2.5 ms',
    '640 ms',
    '12.3 s',
  ])
  expect([0, 1, 12_345].map((count) => formatQuantity(count, 'record'))).toEqual([
    '0 records',
    '1 record',
    '12,345 records',
  ])
  expect(shortId('018f3a5c-7e00-7123-8abc-1234567890ab')).toBe('018f3a5c…7890ab')
})

test('a day before the year 1 is told from one of the future', () => {
  const noon = (year: number): number => new Date(2000, 5, 1, 12).setFullYear(year)

  expect(formatTime(noon(-29_719))).not.toBe(formatTime(noon(29_720)))
  expect(formatTime(noon(0))).not.toBe(formatTime(noon(1)))
})

test.each([
  ['string', ' text ', ' text '],
  ['number', '4.5', 4.5],
  ['boolean', 'true', true],
  ['timestamp', '2025-06-01T12:00:00Z', 1_748_779_200_000],
  ['json', '{"a":[1]}', { a: [1] }],
  ['string', '', null],
])('a filter on a %s takes %j', (kind, typed, value) => {
  expect(parseFilterValue(kind, typed)).toEqual({ ok: true, value })
})

test.each([
  ['number', 'four'],
  ['boolean', 'yes'],
  ['timestamp', 'tomorrow'],
  ['array', 'a, b'],
])('a filter on a %s refuses %j', (kind, typed) => {
  expect(parseFilterValue(kind, typed)).toMatchObject({ ok: false })
})

test('events are read whatever the pieces that they arrive in', async () => {
  const bytes = new TextEncoder().encode(
    'event: sample\ndata: {"text":"Straße"}\n\nevent: status\ndata: {"n":1}\n\nevent: half',
  )
  const pieces = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte))
      controller.close()
    },
  })

  const events = []
  for await (const event of readEvents(pieces)) events.push(event)

  expect(events).toEqual([
    { name: 'sample', data: { text: 'Straße' } },
    { name: 'status', data: { n: 1 } },
  ])
})
