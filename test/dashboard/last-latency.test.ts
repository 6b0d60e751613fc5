import { expect, test } from 'vitest'
import { lastLatency } from '../../src/dashboard/last-latency.ts'
import type { LiveSample } from '../../src/http/dashboard/api-types.ts'

test('the last latency has its age: a second without traffic has none of its own', () => {
  expect(lastLatency([])).toBeNull()
  expect(lastLatency(seconds([null, null]))).toBeNull()
  expect(lastLatency(seconds([3, 5]))).toEqual({ p99Ms: 5, ageMs: 0 })
  expect(lastLatency(seconds([3, 5, null, null]))).toEqual({ p99Ms: 5, ageMs: 2000 })
})

test('one that is older than a minute tells nothing of now', () => {
  expect(lastLatency(seconds([5, ...new Array<null>(59).fill(null)]))).toEqual({ p99Ms: 5, ageMs: 59_000 })
  expect(lastLatency(seconds([5, ...new Array<null>(60).fill(null)]))).toBeNull()
})

function seconds(latencies: readonly (number | null)[]): LiveSample[] {
  return latencies.map((acknowledgeP99Ms, second) => ({
    at: second * 1000,
    sessions: 1,
    receivedPerSecond: 0,
    deliveredPerSecond: 0,
    refusedPerSecond: 0,
    acknowledgeP50Ms: acknowledgeP99Ms,
    acknowledgeP99Ms,
    commitP99Ms: null,
    queuedBytes: 0,
    deliverySequence: 0,
  }))
}
