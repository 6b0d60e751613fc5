import { expect, test } from 'vitest'
import { Backlog } from '../../../src/sync/session/backlog.ts'

const MAX_BYTES = 4 * 1024 * 1024

/** A connection that is sent and takes what the test says. */
function openBacklog(maxBytes = MAX_BYTES) {
  const transport = { bufferedBytes: 0 }
  const backlog = new Backlog(transport, maxBytes)
  return {
    backlog,
    send(bytes: number): void {
      const before = backlog.bytes
      transport.bufferedBytes += bytes
      backlog.grewFrom(before)
    },
    take(bytes: number): void {
      transport.bufferedBytes -= bytes
    },
  }
}

/** After how many seconds a connection is stuck of which this much is taken, and as much is sent again. */
function secondsUntilStuck(bytesPerSecond: number, secondsBetween = 1): number | null {
  const { backlog, send, take } = openBacklog()
  send(MAX_BYTES)
  for (let second = 0; second <= 120; second++) {
    if (backlog.look(second * 1000).isStuck) return second
    if (second % secondsBetween > 0) continue
    take(bytesPerSecond)
    send(bytesPerSecond)
  }
  return null
}

test('who reads nothing of a full buffer is stuck within 30 s', () => {
  expect(secondsUntilStuck(0)).toBe(29)
})

test('so is who takes next to nothing', () => {
  expect(secondsUntilStuck(1)).toBe(29)
  expect(secondsUntilStuck(1, 60)).toBe(29)
  expect(secondsUntilStuck(2000)).toBe(29)
})

test('who goes on reading is not, although the buffer is full at every look', () => {
  expect(secondsUntilStuck(100_000)).toBeNull()
  expect(secondsUntilStuck(5000)).toBeNull()
})

test('who has read and reads no more is stuck 30 s later', () => {
  const { backlog, send, take } = openBacklog()
  send(MAX_BYTES + 1_000_000)
  for (let second = 0; second < 10; second++) {
    backlog.look(second * 1000)
    take(100_000)
  }

  for (let second = 10; second < 39; second++) expect(backlog.look(second * 1000).isStuck).toBe(false)
  expect(backlog.look(39_000).isStuck).toBe(true)
})

test('answers are too much above four times the bound', () => {
  const { backlog, send } = openBacklog()
  send(MAX_BYTES)
  for (let sent = 0; sent < 3 * MAX_BYTES; sent += 1024) {
    expect(backlog.isTooMuch).toBe(false)
    send(1024)
  }
  expect(backlog.isTooMuch).toBe(true)
})

test('one message that is larger than that is not too much, nor are a few answers behind it', () => {
  const { backlog, send, take } = openBacklog(65_536)
  send(350_000)
  expect(backlog.isTooMuch).toBe(false)
  for (let n = 0; n < 100; n++) send(1000)
  expect(backlog.isTooMuch).toBe(false)
  for (let n = 0; n < 32; n++) send(1000)
  expect(backlog.isTooMuch).toBe(true)

  take(482_000)
  send(1000)
  for (let n = 0; n < 262; n++) send(1000)
  expect(backlog.isTooMuch).toBe(true)
})
