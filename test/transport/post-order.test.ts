import { expect, test } from 'vitest'
import type { Frame } from '../../src/protocol/frame.ts'
import { PostOrder } from '../../src/transport/post-order.ts'
import { decodeEnvelope, encodeEnvelope } from '../support/device/protobuf.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'

function openOrder() {
  const runtime = simulatedRuntime()
  const delivered: string[] = []
  /** What was delivered with something missing before it, as far as can be told. */
  const unsure: string[] = []
  let isUnsure = false
  const deliver = ({ bytes }: Frame): void => {
    const { messageId } = JSON.parse(Buffer.from(bytes).toString()) as { messageId: string }
    delivered.push(messageId)
    if (isUnsure) unsure.push(messageId)
  }
  const order = new PostOrder(runtime, deliver, () => {
    isUnsure = true
  })
  const post = (messageId: string, type = 'x'): void =>
    order.accept({ isBinary: false, bytes: Buffer.from(JSON.stringify({ type, messageId })) })
  return { runtime, order, delivered, unsure, post }
}

test('puts messages that overtook each other back in order', () => {
  const { delivered, post } = openOrder()

  for (const number of [5, 8, 7, 6, 10, 9]) post(`msg-1748736015063-${number}`)

  expect(delivered.map((id) => Number(id.split('-')[2]))).toEqual([5, 6, 7, 8, 9, 10])
})

test('waits for a missing number, but not for long', async () => {
  const { delivered, post, runtime } = openOrder()
  post('msg-1-1')
  post('msg-1-4')
  post('msg-1-3')
  expect(delivered).toEqual(['msg-1-1'])

  await runtime.advance(300)

  expect(delivered).toEqual(['msg-1-1', 'msg-1-3', 'msg-1-4'])
})

test('waits as long for each missing number, though something waited before it was the next', async () => {
  const { delivered, unsure, post, runtime } = openOrder()
  post('msg-1-1')
  post('msg-1-3')
  await runtime.advance(290)
  post('msg-1-5')
  post('msg-1-2')
  await runtime.advance(290)
  expect(delivered).toEqual(['msg-1-1', 'msg-1-2', 'msg-1-3'])

  post('msg-1-4')

  expect(delivered.at(-1)).toBe('msg-1-5')
  expect(unsure).toEqual([])
})

test('says that something may be missing once a number is given up, before what follows it', async () => {
  const { unsure, post, runtime } = openOrder()
  for (const number of [1, 3, 2, 5, 6]) post(`msg-1-${number}`)
  expect(unsure).toEqual([])

  await runtime.advance(300)
  post('msg-1-7')

  expect(unsure).toEqual(['msg-1-5', 'msg-1-6', 'msg-1-7'])
})

test('of batches that are not numbered nobody knows whether one is missing', () => {
  const { unsure, post } = openOrder()
  post('msg-1-1', 'operation-batch')
  post('0197-a', 'awareness-update')
  expect(unsure).toEqual([])

  post('0197-b', 'operation-batch')

  expect(unsure).toEqual(['0197-b'])
})

test('delivers what comes too late, and what is not numbered, at once', async () => {
  const { delivered, post, runtime } = openOrder()
  post('msg-1-1')
  post('msg-1-3')
  await runtime.advance(300)
  post('msg-1-2')
  post('0197-uuid')

  expect(delivered).toEqual(['msg-1-1', 'msg-1-3', 'msg-1-2', '0197-uuid'])
})

test('takes a message once that is sent again, whether it was delivered or waits', async () => {
  const { delivered, post, runtime } = openOrder()
  for (const number of [1, 1, 3, 3, 2, 3, 2]) post(`msg-1-${number}`)
  await runtime.advance(300)

  expect(delivered).toEqual(['msg-1-1', 'msg-1-2', 'msg-1-3'])
})

test('reads the numbers of binary messages as well', async () => {
  const runtime = simulatedRuntime()
  const delivered: string[] = []
  const deliver = ({ bytes }: Frame): void => {
    delivered.push(String(decodeEnvelope(bytes).messageId))
  }
  const order = new PostOrder(runtime, deliver, () => {})
  const post = (messageId: string, type: 'operation-batch' | 'acknowledgment' = 'operation-batch'): void => {
    const rest =
      type === 'acknowledgment'
        ? { type, acknowledgedMessageId: 'msg-9-9', lastSequenceNumber: 0 }
        : { type, operations: [], isFinal: true, batchIndex: 0 }
    order.accept({ isBinary: true, bytes: encodeEnvelope({ messageId, ...rest }) })
  }

  post('msg-1-1', 'acknowledgment')
  for (const number of [3, 3, 2, 2, 4]) post(`msg-1-${number}`)
  post('0197-uuid')

  expect(delivered).toEqual(['msg-1-1', 'msg-1-2', 'msg-1-3', 'msg-1-4', '0197-uuid'])
})

test('gives a missing number up when too much waits for it', () => {
  const { delivered, post } = openOrder()
  post('msg-1-1')

  for (let number = 3; number < 3 + 257; number++) post(`msg-1-${number}`)

  expect(delivered).toHaveLength(1 + 257)
})

test('does not hold more than some megabytes for a message that does not come', () => {
  const { order, delivered, post } = openOrder()
  post('msg-1-1')
  for (let number = 3; number < 9; number++) {
    const message = { messageId: `msg-1-${number}`, text: 'x'.repeat(1_000_000) }
    order.accept({ isBinary: false, bytes: Buffer.from(JSON.stringify(message)) })
  }

  expect(delivered).toContain('msg-1-3')
})
