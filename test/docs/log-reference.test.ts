import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { logReference } from '../../scripts/reference/log-reference.ts'
import { LOG_EVENTS, type LogEvent } from '../../src/core/log-events.ts'

const events: readonly LogEvent[] = Object.values(LOG_EVENTS)

test('docs/logs.md is up to date (npm run generate)', () => {
  expect(readFileSync(new URL('../../docs/logs.md', import.meta.url), 'utf8')).toBe(logReference())
})

test('what somebody may have to act on says how, and no two lines read the same', () => {
  const unexplained = events.filter(
    ({ level, advice }) => (level === 'warn' || level === 'error') && advice === undefined,
  )

  expect(unexplained).toEqual([])
  expect(new Set(events.map(({ message }) => message)).size).toBe(events.length)
})
