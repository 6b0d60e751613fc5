import { expect, test } from 'vitest'
import { IntervalSchedule } from '../../src/store/interval-schedule.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'

const MONTH_MS = 30 * 24 * 60 * 60 * 1000 // longer than a timer can wait

function openSchedule(run: (signal: AbortSignal) => Promise<void>) {
  const runtime = simulatedRuntime()
  const startedAt = runtime.monotonicNow()
  const runsAt: number[] = []
  const failures: unknown[] = []
  const schedule = new IntervalSchedule({
    runtime,
    everyMs: MONTH_MS,
    async run(signal) {
      runsAt.push(runtime.monotonicNow() - startedAt)
      await run(signal)
      return MONTH_MS
    },
    onFailure: (error) => failures.push(error),
  })
  return { runtime, schedule, runsAt, failures }
}

test('waits for as long as it is told, from the end of a run, until it is stopped', async () => {
  const { runtime, schedule, runsAt, failures } = openSchedule(async () => {})

  schedule.start(1000)
  await runtime.advance(2 * MONTH_MS)
  await schedule.stop()
  await runtime.advance(2 * MONTH_MS)

  expect(runsAt).toEqual([1000, 1000 + MONTH_MS])
  expect(failures).toEqual([])
})

test('tells of what fails, and tries it again a minute later', async () => {
  const failure = new Error('not now')
  const { runtime, schedule, runsAt, failures } = openSchedule(async () => {
    if (runsAt.length < 3) throw failure
  })

  schedule.start(0)
  await runtime.advance(MONTH_MS)
  await schedule.stop()

  expect(runsAt).toEqual([0, 60_000, 120_000])
  expect(failures).toEqual([failure, failure])
})

test('ends what runs, and does not call that a failure', async () => {
  const { runtime, schedule, runsAt, failures } = openSchedule(
    (signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')))),
  )

  schedule.start(0)
  await runtime.advance(1)
  await schedule.stop()
  await runtime.advance(MONTH_MS)

  expect(runsAt).toEqual([0])
  expect(failures).toEqual([])
})
