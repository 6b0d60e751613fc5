import { expect, test } from 'vitest'
import type { Runtime } from '../../../src/core/runtime.ts'
import { ClosePace } from '../../../src/sync/hub/close-pace.ts'
import { type SimulatedRuntime, settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

const CLIENTS = 1000
const SPREAD_MS = 8000 // of a `shutdownTimeout` of 10 s

/** A span during which the machine has no time for us, ms from the start. */
interface Standstill {
  readonly from: number
  readonly to: number
}

/** Timers that fall due while nothing moves are late. */
function withStandstills(runtime: SimulatedRuntime, standstills: readonly Standstill[]): Runtime {
  return {
    ...runtime,
    setTimer(delayMs, callback) {
      const dueAt = runtime.monotonicNow() + delayMs
      const standstill = standstills.find(({ from, to }) => from <= dueAt && dueAt < to)
      return runtime.setTimer(standstill ? standstill.to - runtime.monotonicNow() : delayMs, callback)
    },
  }
}

/** @returns when each connection was closed, in ms from the start */
async function closeAll(options: {
  readonly standstills?: readonly Standstill[]
  readonly connections?: number
  readonly spreadMs?: number
}): Promise<number[]> {
  const { standstills = [], connections = CLIENTS, spreadMs = SPREAD_MS } = options
  const time = simulatedRuntime()
  const pace = new ClosePace({ runtime: withStandstills(time, standstills), connections, spreadMs })
  const closedAt: number[] = []
  const all = Array.from({ length: connections }, async (_, index) => {
    const { signal } = new AbortController()
    await pace.begins(index, signal)
    await pace.turn(signal)
    closedAt.push(time.monotonicNow())
  })
  await settle()
  await time.advance(10_000)
  await Promise.all(all)
  return closedAt
}

function mostPerSecond(instants: readonly number[]): number {
  return Math.max(
    ...instants.map((start) => instants.filter((at) => at >= start && at < start + 1000).length),
  )
}

test('closes some 160 connections a second', async () => {
  const closedAt = await closeAll({})

  expect(mostPerSecond(closedAt)).toBe(167)
  expect(closedAt.at(-1)).toBe(5994)
})

test('closes more a second when they are too many for the time', async () => {
  const closedAt = await closeAll({ connections: 3000 })

  expect(mostPerSecond(closedAt)).toBeLessThanOrEqual(3000 / 6)
  expect(closedAt.at(-1)).toBeLessThanOrEqual(SPREAD_MS)
})

test('does not make up for a standstill all at once', async () => {
  const closedAt = await closeAll({
    standstills: [
      { from: 1000, to: 2200 },
      { from: 2300, to: 2700 },
    ],
  })

  expect(mostPerSecond(closedAt)).toBeLessThanOrEqual(CLIENTS / 5)
  expect(closedAt.at(-1)).toBeLessThan(SPREAD_MS)
})

test('is behind after a long standstill, and goes on a little faster', async () => {
  const connections = 800
  const closedAt = await closeAll({ connections, standstills: [{ from: 1500, to: 5500 }] })

  expect(mostPerSecond(closedAt)).toBeLessThanOrEqual(connections / 4)
  expect(closedAt.at(-1)).toBeLessThan(SPREAD_MS)
})

test('keeps nobody waiting once the time is up', async () => {
  const closedAt = await closeAll({ standstills: [{ from: 100, to: 6900 }] })

  expect(closedAt).toHaveLength(CLIENTS)
  expect(closedAt.at(-1)).toBe(SPREAD_MS)
})

test('closes all at once when nothing is to be spread', async () => {
  const closedAt = await closeAll({ spreadMs: 0 })

  expect(new Set(closedAt)).toEqual(new Set([0]))
})
