import { expect, test } from 'vitest'
import { Backlog } from '../../src/sync/backlog.ts'

const LIMIT = 2_000_000

/** A backlog behind a connection that takes nothing. */
function blocked(): {
  backlog: Backlog
  transport: { bufferedBytes: number }
  send: (bytes: number) => void
} {
  const transport = { bufferedBytes: 0 }
  const backlog = new Backlog(transport, LIMIT)
  const send = (bytes: number): void => {
    backlog.noteSending(bytes)
    transport.bufferedBytes += bytes
  }
  return { backlog, transport, send }
}

test('counts what small messages take beside their bytes, and hardly anything of large ones', () => {
  const [small, large] = [blocked(), blocked()]

  for (let count = 0; count < 1000; count++) small.send(200)
  for (let count = 0; count < 4; count++) large.send(50_000)

  expect(small.backlog.bytes).toBe(1_200_000)
  expect(large.backlog.bytes).toBe(204_000)
  small.send(900_000)
  expect(small.backlog.isFull).toBe(true)
})

test('what a client has taken counts no more, however long something has waited', () => {
  const { backlog, transport, send } = blocked()

  for (let count = 0; count < 100_000; count++) {
    send(200)
    transport.bufferedBytes = Math.min(transport.bufferedBytes, 2000) // it reads, and is always ten behind
  }

  expect(backlog.bytes).toBe(2000 + 10 * 1000)
  transport.bufferedBytes = 0
  expect(backlog.bytes).toBe(0)
})
