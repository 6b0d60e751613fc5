import { expect, test } from 'vitest'
import { settlesWithin, sleep } from '../../src/core/pause.ts'
import type { Timer, TimerOptions } from '../../src/core/runtime.ts'
import { settle, simulatedRuntime } from '../support/simulated-runtime.ts'

const never = new Promise<never>(() => {})

test('a pause ends early when its signal aborts, and leaves no timer that would keep the process alive', async () => {
  const runtime = countingRuntime()
  const ending = new AbortController()

  const slept = sleep(runtime, 60_000, ending.signal)
  expect(runtime.awaitedTimers).toBe(1)
  ending.abort()
  await slept
  await sleep(runtime, 60_000, ending.signal)

  expect(runtime.awaitedTimers).toBe(0)
})

test.each([
  ['settles', async () => {}, true],
  ['fails', () => Promise.reject(new Error('failed')), true],
  ['does not settle in time', () => never, false],
])('of work that %s it is told whether it has settled', async (_name, begin, isSettled) => {
  const runtime = countingRuntime()

  const answer = settlesWithin(begin(), { runtime, timeoutMs: 1000 })
  await settle()
  await runtime.advance(1000)

  expect(await answer).toBe(isSettled)
  expect(runtime.awaitedTimers).toBe(0)
})

test('work is waited for no longer than until the signal aborts', async () => {
  const runtime = countingRuntime()
  const ending = new AbortController()

  const answer = settlesWithin(never, { runtime, timeoutMs: 1000, signal: ending.signal })
  ending.abort()

  expect(await answer).toBe(false)
  expect(runtime.awaitedTimers).toBe(0)
})

/** Counts the timers that keep a process alive now. */
function countingRuntime() {
  const runtime = simulatedRuntime()
  const awaited = new Set<object>()
  return {
    advance: runtime.advance,
    get awaitedTimers() {
      return awaited.size
    },
    setTimer(delayMs: number, callback: () => void, { isAwaited = false }: TimerOptions = {}): Timer {
      const timer = runtime.setTimer(delayMs, () => {
        awaited.delete(timer)
        callback()
      })
      if (isAwaited) awaited.add(timer)
      return {
        cancel() {
          awaited.delete(timer)
          timer.cancel()
        },
      }
    },
  }
}
