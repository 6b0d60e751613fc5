import { expect, test } from 'vitest'
import { WaitingBytes } from '../../src/transport/waiting-bytes.ts'

/** A connection that takes nothing. */
function blocked(): {
  waiting: WaitingBytes
  webSocket: { bufferedAmount: number }
  send: (bytes: number) => void
} {
  const webSocket = { bufferedAmount: 0 }
  const waiting = new WaitingBytes(webSocket)
  const send = (bytes: number): void => {
    waiting.noteSending(bytes)
    webSocket.bufferedAmount += bytes
  }
  return { waiting, webSocket, send }
}

test('counts what small messages take beside their bytes, and hardly anything of large ones', () => {
  const [small, large] = [blocked(), blocked()]

  for (let count = 0; count < 1000; count++) small.send(200)
  for (let count = 0; count < 4; count++) large.send(50_000)

  expect(small.waiting.total).toBe(1_200_000)
  expect(large.waiting.total).toBe(204_000)
})

test('what a client has taken counts no more, however long something has waited', () => {
  const { waiting, webSocket, send } = blocked()

  for (let count = 0; count < 100_000; count++) {
    send(200)
    webSocket.bufferedAmount = Math.min(webSocket.bufferedAmount, 2000) // it reads, and is always ten behind
  }

  expect(waiting.total).toBe(2000 + 10 * 1000)
  webSocket.bufferedAmount = 0
  expect(waiting.total).toBe(0)
})
