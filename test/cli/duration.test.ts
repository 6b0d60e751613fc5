import { expect, test } from 'vitest'
import { parseDurationSeconds } from '../../src/cli/duration.ts'

test.each([
  ['90s', 90],
  ['15m', 900],
  ['1h', 3600],
  ['1.5h', 5400],
  ['7d', 604_800],
  ['2w', 1_209_600],
  ['60', 60],
])('reads %s', (text, seconds) => {
  expect(parseDurationSeconds(text)).toBe(seconds)
})

test.each(['', 'soon', '0', '-1h', '1y', '1h30m'])('refuses "%s"', (text) => {
  expect(() => parseDurationSeconds(text)).toThrow('is not a duration')
})
