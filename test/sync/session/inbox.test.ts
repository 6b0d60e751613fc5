import { expect, test } from 'vitest'
import { Inbox } from '../../../src/sync/session/inbox.ts'

/** A connection that sends frames of this size for as long as it is read. */
function floodedInbox(frameBytes: number): { inbox: Inbox; flood: () => number } {
  let isReading = true
  const inbox = new Inbox({
    pause: () => {
      isReading = false
    },
    resume: () => {
      isReading = true
    },
  })
  const flood = (): number => {
    let taken = 0
    while (isReading && taken < 1_000_000) {
      inbox.add({ isBinary: false, bytes: Buffer.alloc(frameBytes) })
      taken++
    }
    return taken
  }
  return { inbox, flood }
}

test.each([
  [0, 2049],
  [100, 1714],
  [100_000, 11],
])('a flood of frames of %i bytes waits unread once %i of them have been taken', (frameBytes, frames) => {
  const { inbox, flood } = floodedInbox(frameBytes)

  expect(flood()).toBe(frames)
  for (let i = 0; i < frames; i++) inbox.take()
  expect(inbox.isEmpty).toBe(true)

  expect(flood()).toBe(frames)
})

test('more is read once half of what waits has been handled', () => {
  const { inbox, flood } = floodedInbox(0)
  flood()

  for (let i = 0; i < 1024; i++) inbox.take()
  expect(flood()).toBe(0)
  inbox.take()

  expect(flood()).toBe(1025)
})

test('what was cleared away is no longer counted', () => {
  const { inbox, flood } = floodedInbox(0)
  flood()

  expect(inbox.clear()).toHaveLength(2049)

  expect(inbox.isEmpty).toBe(true)
  expect(flood()).toBe(0)
})
