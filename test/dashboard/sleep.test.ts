import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { sleep } from '../../src/dashboard/sleep.ts'

test('a sleep leaves nothing at the signal that could have ended it', async () => {
  const { signal } = new AbortController()

  await sleep(1, signal)

  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('a sleep ends when it is aborted', async () => {
  const controller = new AbortController()
  const sleeping = sleep(1_000_000, controller.signal)

  controller.abort()

  await sleeping
})
