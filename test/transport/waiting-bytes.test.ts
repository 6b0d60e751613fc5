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

test('what waits is weighed by itself, and not by what went before', () => {
  const [filled, healthy] = [blocked(), blocked()]

  filled.send(4_000_000)
  for (let count = 0; count < 10_000; count++) filled.send(200)
  filled.webSocket.bufferedAmount = 10_000 * 200 // the large one is read, and nothing after it
  for (let count = 0; count < 10_000; count++) {
    healthy.send(200)
    healthy.webSocket.bufferedAmount = 200
  }
  healthy.send(1_000_000)

  expect(filled.waiting.total).toBe(10_000 * 1200)
  expect(healthy.waiting.total).toBe(1_000_200 + 2 * 1000)
})

test('however messages of all sizes are sent and read, what they take is known to within one of them', () => {
  const { waiting, webSocket, send } = blocked()
  const sizes: number[] = []
  let seed = 1
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }

  for (let step = 0; step < 20_000; step++) {
    const size = random(20) === 0 ? random(1_000_000) + 1 : random(300) + 1
    send(size)
    sizes.push(size)
    for (let read = random(80_000); read > 0 && sizes.length > 0; ) {
      const part = Math.min(read, sizes[0] ?? 0)
      read -= part
      webSocket.bufferedAmount -= part
      if (part === sizes[0]) sizes.shift()
      else sizes[0] = (sizes[0] ?? 0) - part
    }
    expect(Math.abs(waiting.total - webSocket.bufferedAmount - sizes.length * 1000)).toBeLessThanOrEqual(1000)
  }
})
