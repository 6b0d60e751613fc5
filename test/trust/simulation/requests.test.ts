import { expect, test } from 'vitest'
import type { Frame } from '../../../src/protocol/frame.ts'
import { Requests } from './requests.ts'

const [first, second] = [request('a'), request('b')]

/** Both are sent, the first before the second. */
function bothSent(): Requests {
  const requests = new Requests()
  for (const frame of [first, second]) requests.sent(frame)
  return requests
}

test('a request that comes 0.3 s after one that has overtaken it, or never, is lost to the server', () => {
  const [late, never] = [bothSent(), bothSent()]
  for (const requests of [late, never]) requests.arrived(second, 1_000)
  late.arrived(first, 1_300)

  expect(late.hasLost('a', 'b')).toBe(true)
  expect(never.hasLost('a', 'b')).toBe(true)
})

test('one that comes in its time is not, whether it was overtaken or not', () => {
  const [overtaken, inOrder] = [bothSent(), bothSent()]
  overtaken.arrived(second, 1_000)
  overtaken.arrived(first, 1_299)
  inOrder.arrived(first, 1_000)
  inOrder.arrived(second, 9_000)

  expect(overtaken.hasLost('a', 'b')).toBe(false)
  expect(inOrder.hasLost('a', 'b')).toBe(false)
})

test('nor is one that the server had no time to wait for, or of which it has heard nothing later', () => {
  const [ended, unknown] = [bothSent(), bothSent()]
  ended.arrived(second, 1_000)
  ended.ended(1_299)

  expect(ended.hasLost('a', 'b')).toBe(false)
  expect(unknown.hasLost('a', 'b')).toBe(false)
})

test('what was sent later is not lost to what was sent before it', () => {
  const requests = bothSent()
  requests.arrived(first, 1_000)

  expect(requests.hasLost('b', 'a')).toBe(false)
})

test('a request that comes twice has come with the first', () => {
  const requests = bothSent()
  for (const atMs of [1_000, 2_000]) requests.arrived(first, atMs)
  requests.arrived(second, 2_000)

  expect(requests.hasLost('a', 'b')).toBe(false)
})

function request(id: string): Frame {
  const message = { type: 'operation-batch', messageId: `msg-1-${id}`, operations: [{ id }] }
  return { isBinary: false, bytes: Buffer.from(JSON.stringify(message)) }
}
