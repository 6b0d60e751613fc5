import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle } from '../support/simulated-runtime.ts'

/** A delta of single operations. */
function deltaOf(operations: readonly Operation[]) {
  return operations.map((operation, batchIndex) => ({
    type: 'operation-batch' as const,
    messageId: `b${batchIndex}`,
    operations: [operation],
    isFinal: batchIndex === operations.length - 1,
    batchIndex,
    totalBatches: operations.length,
  }))
}

test('what follows a lost batch of a delta is not stored, so that the client sends it all again', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const operations = ['a', 'b', 'c', 'd'].map((name) => author.insert(recordIdOf(name), {}))
  const [first, , third, last] = deltaOf(operations)
  const phone = await connect('phone')

  for (const batch of [first, third, last]) if (batch !== undefined) phone.receive(batch)
  await settle()

  expect(phone.sentOfType('error')).toMatchObject([{ code: 'SYNC_ERROR', retriable: true }])
  expect((await store.getVersionVector()).get('phone')).toBe(1)

  const again = await connect('phone')
  for (const batch of deltaOf(operations.slice(1))) again.receive(batch)
  await settle()
  expect(again.sentOfType('acknowledgment')).toHaveLength(3)
  expect(await store.getOperationCount()).toBe(4)
})

test('what a client writes after a delta whose end was lost is not stored either', async () => {
  const { connect, store } = openRelayServer()
  const author = new OperationAuthor('phone')
  const operations = ['a', 'b'].map((name) => author.insert(recordIdOf(name), {}))
  const [first] = deltaOf(operations)
  const live = { ...deltaOf([author.insert(recordIdOf('c'), {})])[0], messageId: 'live' }
  const phone = await connect('phone')

  for (const batch of [first, live]) if (batch !== undefined) phone.receive(batch)
  await settle()

  expect(phone.sentOfType('error')).toMatchObject([{ code: 'SYNC_ERROR' }])
  expect((await store.getVersionVector()).get('phone')).toBe(1)
})
