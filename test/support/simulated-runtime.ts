import type { Runtime, Timer } from '../../src/core/runtime.ts'

/** A clock that moves only when the test says so. Deferred work still runs by itself. */
export interface SimulatedRuntime extends Runtime {
  /** Moves the clock and runs the timers that fall due, in order. */
  advance(ms: number): Promise<void>
  /** Sets the clock, forward or back. No time passes: what timers wait for does not come nearer. */
  stepClock(ms: number): void
}

interface PendingTimer {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

export function simulatedRuntime(startAt = 1_750_000_000_000): SimulatedRuntime {
  let now = startAt
  let steppedMs = 0
  let count = 0
  const timers = new Set<PendingTimer>()

  function nextDue(until: number): PendingTimer | undefined {
    return [...timers]
      .filter((timer) => timer.at <= until)
      .sort((a, b) => a.at - b.at || a.order - b.order)[0]
  }

  return {
    now: () => now + steppedMs,
    monotonicNow: () => now - startAt,
    setTimer(delayMs, callback): Timer {
      const timer = { at: now + delayMs, order: count++, callback }
      timers.add(timer)
      return { cancel: () => void timers.delete(timer) }
    },
    defer: (callback) => void setImmediate(callback),
    uuid: () => `00000000-0000-7000-8000-${String(count++).padStart(12, '0')}`,
    token: (byteLength) => Buffer.alloc(byteLength, count++).toString('base64url'),
    stepClock: (ms) => {
      steppedMs += ms
    },
    async advance(ms) {
      const until = now + ms
      for (let timer = nextDue(until); timer !== undefined; timer = nextDue(until)) {
        timers.delete(timer)
        now = timer.at
        timer.callback()
        await settle()
      }
      now = until
      await settle()
    },
  }
}

/** Lets everything that is ready run: promises, deferred work, what they start in turn. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 20; round++) await new Promise((resolve) => setImmediate(resolve))
}
